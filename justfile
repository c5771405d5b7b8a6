# Every check, one recipe each. `just ci` runs all of them in the order that finds mistakes soonest; `.ci/run` does the same
# on a fresh machine, after it has installed what is missing.

set shell := ["bash", "-euo", "pipefail", "-c"]

# Tests fail where a kernel is not tested though the CPU supports it, so that a skip can't look like a pass.
export BURN_INT8_REQUIRE_KERNELS := env("BURN_INT8_REQUIRE_KERNELS", shell('''
    has() { grep -qw "$1" /proc/cpuinfo 2> /dev/null; }
    kernels=portable
    if has avx2; then kernels="$kernels,avx2"; fi
    if has avx_vnni; then kernels="$kernels,avx-vnni"; fi
    if has avx512_vnni; then kernels="$kernels,avx512vl-vnni,avx512-vnni"; fi
    echo "$kernels"
'''))

# The seconds that each fuzz target runs.
fuzz_seconds := "60"

# The flags of libFuzzer and AddressSanitizer, as `cargo fuzz` sets them; the C++ compiler links its runtime.
fuzz_flags := "-Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 " + \
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table " + \
    "-Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing -Cdebug-assertions -Clinker=c++"

# Lists the recipes.
default:
    @just --list

# Everything that must hold.
ci: fmt spell deny clippy test-device examples-device test-spirv doc package test examples apps valgrind fuzz

# Formatting of all crates.
fmt:
    cargo fmt --all --check
    cd benches/networks && cargo fmt --check
    cd benches/peers && cargo fmt --check
    cd kernels/fuzz && cargo fmt --check
    cd fuzz && cargo fmt --check

# Spelling; `_typos.toml` lists what is no mistake.
spell:
    typos

# Licences, duplicates and sources of all dependencies, without network.
deny:
    cargo deny check licenses bans sources

# Known vulnerabilities; fetches the advisory database.
advisories:
    cargo deny check advisories

# Each feature set. Tests, examples and benches have no code for the want of a feature: the last set checks them.
clippy:
    cargo clippy -p burn-int8-kernels --all-targets -- -D warnings
    cargo clippy --lib -- -D warnings
    cargo clippy --lib --no-default-features -- -D warnings
    cargo clippy --lib --no-default-features --features flex -- -D warnings
    cargo clippy --all-targets --features wgpu,flex -- -D warnings
    cargo clippy -p minilm -p llm -p remote -p vision --all-targets -- -D warnings

# The tests of all crates.
test:
    cargo test --workspace --features test-suite

# Tests on a device, in WGSL, and of what the flex feature changes. Mesa's lavapipe is a device, too.
test-device:
    BURN_INT8_REQUIRE_GPU=1 cargo test --features wgpu,flex --lib -- cube
    BURN_INT8_REQUIRE_GPU=1 cargo test --features wgpu,flex --test suite -- \
        wgpu device:: flex keras linear records conv embedding reports transformer

# Tests on a device, in SPIR-V.
test-spirv:
    BURN_INT8_REQUIRE_GPU=1 cargo test --features vulkan --lib -- cube

# An example on a device.
examples-device:
    cargo run --features wgpu,flex --example quickstart -- --backend wgpu

# Documentation without a broken link.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --features flex -p burn-int8 -p burn-int8-kernels

# Both packages, as they would be published.
package:
    cargo package --workspace --exclude minilm --exclude llm --exclude onnx --exclude remote --exclude vision --allow-dirty --no-verify

# The examples, as a reader runs them.
examples:
    cargo run --release --example quickstart
    cargo run --release --example digits
    cargo run --release --example digits -- --backend int8-ndarray

# MiniLM, EfficientNet-Lite0 and SmolLM2 with their real weights, Gemma 3 with random ones.
apps:
    model="$(apps/minilm/download.sh)"; \
        BURN_INT8_MINILM="$model" cargo test --release -p minilm; \
        cargo run --release -p minilm -- --model "$model"
    data="$(apps/vision/download.sh)"; \
        BURN_INT8_VISION="$data" cargo test --release -p vision; \
        cargo run --release -p vision -- --data "$data"
    model="$(apps/llm/download.sh)"; \
        BURN_INT8_SMOLLM2="$model" cargo test --release -p llm; \
        cargo run --release -p llm -- compare --model "$model" --max-tokens 20
    cargo run --release -p llm -- compare --synthetic tiny --max-tokens 32

# ONNX models through burn-onnx, with their real weights. The code that it generates takes minutes to compile.
onnx:
    models="$(apps/onnx/download.sh)"; export BURN_INT8_ONNX="$models"; \
        cargo clippy --release -p onnx --features import --all-targets -- -D warnings; \
        cargo test --release -p onnx --features import; \
        cargo run --release -p onnx --features import

# Kernel tests under valgrind, which reports each use of memory that is not initialized or not allocated. It has no AVX-512.
# The longest tests are left out, and `vecmath`, which computes with plain numbers. valgrind 3.19 takes a NaN
# for a number in AVX's `NEQ_OQ`, which `every_pixel` needs.
[doc("Kernel tests under valgrind")]
valgrind:
    BURN_INT8_REQUIRE_KERNELS=portable,avx2 RAYON_NUM_THREADS=2 \
        CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=1" \
        cargo test -p burn-int8-kernels --lib -- --test-threads=1 \
        --skip vecmath --skip random_convolutions --skip large_convolutions --skip every_pixel

# Random convolutions and damaged records, under libFuzzer and AddressSanitizer.
fuzz: fuzz-conv fuzz-records

# Random convolutions, each on one of the kernels, against loops in `i64`.
fuzz-conv: (fuzz-target "kernels/fuzz" "conv" "128")

# Damaged records: reading one is an error or gives what can be read again.
fuzz-records: (fuzz-target "fuzz" "records" "1024")

[private]
fuzz-target folder name longest:
    # A target of its own, so that build scripts and macros are built without these flags.
    cd {{ folder }} && RUSTC_BOOTSTRAP=1 RUSTFLAGS="{{ fuzz_flags }}" \
        cargo build --release --target "$(rustc --print host-tuple)"
    cd {{ folder }} && mkdir -p corpus/{{ name }} artifacts/{{ name }} && \
        RAYON_NUM_THREADS=1 "target/$(rustc --print host-tuple)/release/{{ name }}" -max_total_time={{ fuzz_seconds }} \
        -max_len={{ longest }} -artifact_prefix=artifacts/{{ name }}/ -print_final_stats=1 corpus/{{ name }}
