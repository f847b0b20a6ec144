// Command validate FILE... reads manifests into Kubernetes' own types: a member
// that they do not know, one that stands twice, a value of another type and a
// quantity that is none are errors, as they are to a server that validates strictly.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"

	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// kinds are those that we use, as apiVersion and kind name them.
var kinds = map[string]func() any{
	"v1 ConfigMap":                           func() any { return new(core.ConfigMap) },
	"v1 Secret":                              func() any { return new(core.Secret) },
	"v1 Service":                             func() any { return new(core.Service) },
	"apps/v1 Deployment":                     func() any { return new(apps.Deployment) },
	"autoscaling/v2 HorizontalPodAutoscaler": func() any { return new(autoscaling.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1 Ingress":           func() any { return new(networking.Ingress) },
	"networking.k8s.io/v1 NetworkPolicy":     func() any { return new(networking.NetworkPolicy) },
	"policy/v1 PodDisruptionBudget":          func() any { return new(policy.PodDisruptionBudget) },
}

func main() {
	var errs []error
	for _, file := range os.Args[1:] {
		if err := validate(file); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var separator = regexp.MustCompile(`(?m)^---\n`)

// validate reads a file's documents, and prints what each is.
func validate(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, document := range separator.Split(string(text), -1) {
		var head struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
		}
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			return err
		}
		name := head.APIVersion + " " + head.Kind
		object, ok := kinds[name]
		if !ok {
			return fmt.Errorf("%q is no kind of ours", name)
		}
		if err := strictly([]byte(document), object()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Println(name, head.Metadata.Name)
	}
	return nil
}

// strictly decodes a document as what it becomes on its way to the server: JSON.
func strictly(document []byte, object any) error {
	text, err := yaml.YAMLToJSONStrict(document)
	if err != nil {
		return err
	}
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	return in.Decode(object)
}
