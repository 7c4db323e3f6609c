# Caddy with this project's modules, built by xcaddy from the checkout:
#
#   docker build -f xcaddy.Dockerfile -t caddy-nas-registry .
#   docker buildx build -f xcaddy.Dockerfile --platform linux/amd64,linux/arm64 .
#
# More modules, such as the one of your DNS provider, each with its version:
#
#   docker build -f xcaddy.Dockerfile --build-arg CADDY_MODULES="github.com/caddy-dns/cloudflare@v0.2.4" .
#
# It needs no BuildKit, so that a NAS with Docker 20.10 can build it, too. Keep
# gzip as the layers' compression (the default of both builders): engines as old
# as DSM's can't unpack zstd.
#
# Everything that runs does so in the first stage, on the machine's own
# architecture; the last one only copies, so a foreign platform needs no emulator.

ARG CADDY_VERSION=2.11.9

# The classic builder doesn't know BUILDPLATFORM; "linux" means its own architecture.
FROM --platform=${BUILDPLATFORM:-linux} caddy:${CADDY_VERSION}-builder AS build
# Not XCADDY_VERSION: that and CADDY_VERSION are variables of the builder image,
# and those win over build arguments.
ARG XCADDY=v0.4.7
# Set by BuildKit. Empty means the machine's own.
ARG TARGETOS
ARG TARGETARCH
ARG CADDY_MODULES
ENV CGO_ENABLED=0
RUN GOBIN=/usr/bin go install "github.com/caddyserver/xcaddy/cmd/xcaddy@${XCADDY}"

WORKDIR /src
COPY . .
# The builder image asks for file capabilities (XCADDY_SETCAP=1). With them the
# program doesn't start where capabilities are dropped, and port 5002 needs none.
#
# @v0.0.0 because the module is not published: without a version xcaddy looks for one.
# The caches go in the same step: they would stay on a NAS as a layer of 2 GB.
RUN GOOS="${TARGETOS:-$(go env GOOS)}" GOARCH="${TARGETARCH:-$(go env GOARCH)}" XCADDY_SETCAP=0 \
    xcaddy build "${CADDY_VERSION}" --output /out/caddy \
    --with github.com/caddy-nas/caddy-nas-registry@v0.0.0=. \
    $(for module in ${CADDY_MODULES}; do echo --with "$module"; done) && \
    go clean -cache -modcache && rm -rf /tmp/buildenv_*

# The official runtime image rather than scratch, for the CA certificates of ACME
# servers and the curl of compose.yaml's health check. In it /data/caddy and
# /config/caddy, where Caddy keeps certificates, keys and its own state, are
# writable by any user. Mount a volume at /data: it declares none, like that image,
# so that no run leaves a nameless one behind.
FROM caddy:${CADDY_VERSION}
COPY --from=build /out/caddy /usr/bin/caddy
EXPOSE 5002
# Not root. Who mounts the Docker socket chooses the user there: see compose.yaml.
USER 1000:1000
