# The server as an image: built here, run as a user without rights, with no shell inside.
FROM rust:1-slim-bookworm AS build
# C, for SQLite, zstd and the TLS primitives.
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
# What `lrs version` says it was built from: the repository itself is not copied.
ARG LRS_GIT_COMMIT
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin lrs

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/lrs /usr/local/bin/lrs
EXPOSE 50051 8080
ENTRYPOINT ["/usr/local/bin/lrs"]
CMD ["serve", "--grpc-listen", "0.0.0.0:50051", "--http-listen", "0.0.0.0:8080"]
