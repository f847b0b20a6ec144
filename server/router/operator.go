package router

import "context"

type operatorKey struct{}

// WithOperator returns the context of a connection that only operators of the server can make. Its
// requests need no administrator token. name stands in the place of the client's address.
func WithOperator(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, operatorKey{}, name)
}

// operatorOf returns the name of the operator who has made the connection of ctx; "": anyone may
// have made it.
func operatorOf(ctx context.Context) string {
	name, _ := ctx.Value(operatorKey{}).(string)
	return name
}
