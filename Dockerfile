# The server's image: the program is built here and runs as a user without rights. The image has no shell.
FROM rust:1-slim-bookworm AS build
# SQLite, zstd and the TLS library are C code.
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
# The commit that `lrs version` prints: git's own files are not copied.
ARG LRS_GIT_COMMIT
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked --bin lrs

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/dist/lrs /usr/local/bin/lrs
EXPOSE 50051 8080
ENTRYPOINT ["/usr/local/bin/lrs"]
CMD ["serve", "--grpc-listen", "0.0.0.0:50051", "--http-listen", "0.0.0.0:8080"]
