# notesd: one static binary in an empty image. Build: make docker-build, or docker build -t notesd .

FROM golang:1.26-bookworm AS build
# Both come with --build-arg or stay unset. GOPROXY: where Go fetches modules, for places that have their own.
ARG GOPROXY
ARG VERSION=development
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -v -ldflags "-s -w -X main.version=$VERSION" -o /out/notesd .
# What scratch lacks. A new volume mounted on /data takes over its owner and mode.
RUN install -d -m 1777 /out/root/tmp && install -d -m 0700 -o 65532 -g 65532 /out/root/data

FROM scratch
# For webhooks over HTTPS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/notesd /notesd
COPY --from=build /out/root/ /
ENV APP_ENV=production DATA_DIR=/data
USER 65532:65532
EXPOSE 3001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["/notesd", "healthcheck"]
ENTRYPOINT ["/notesd"]
