# syntax=docker/dockerfile:1
#
# One target per binary, all of them static and without a shell:
#
#   docker build --target plimsoll-agent -t plimsoll-agent .
#
# `make image` makes the same images without Docker.

ARG GO_VERSION=1.26
ARG STATIC_BASE=gcr.io/distroless/static-debian12

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION} AS source
ARG TARGETOS
ARG TARGETARCH
ENV CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} GOFLAGS=-buildvcs=false GOCACHE=/go/cache
WORKDIR /src
COPY go.mod go.sum ./
COPY cmd cmd
COPY pkg pkg

FROM source AS build-plimsoll-agent
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/go/cache \
    go build -tags grpcnotrace -ldflags "-s -w" -o /out/ ./cmd/plimsoll-agent

FROM source AS build-plimsoll-scheduler
# What the scheduler says of its version is the Kubernetes release in it, which go.mod pins.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/go/cache \
    version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes) && \
    go build -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=${version}" -o /out/ \
      ./cmd/plimsoll-scheduler

# The agent writes control groups, which the kernel gives to root only. docs/operations.md says what
# else it may do, and its manifest takes away the rest.
FROM ${STATIC_BASE}:latest AS plimsoll-agent
ARG VERSION=development
LABEL org.opencontainers.image.title=plimsoll-agent \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.source=https://github.com/plimsoll/plimsoll
COPY --from=build-plimsoll-agent /out/plimsoll-agent /plimsoll-agent
ENTRYPOINT ["/plimsoll-agent"]

FROM ${STATIC_BASE}:nonroot AS plimsoll-scheduler
ARG VERSION=development
LABEL org.opencontainers.image.title=plimsoll-scheduler \
      org.opencontainers.image.version=${VERSION} \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.source=https://github.com/plimsoll/plimsoll
COPY --from=build-plimsoll-scheduler /out/plimsoll-scheduler /plimsoll-scheduler
# A number, so that a kubelet can hold the pod to runAsNonRoot.
USER 65532:65532
ENTRYPOINT ["/plimsoll-scheduler"]
