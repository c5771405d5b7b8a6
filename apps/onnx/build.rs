//! Writes the Rust code and the weights of the ONNX models into the build's folder.

#[cfg(not(feature = "import"))]
fn main() {}

#[cfg(feature = "import")]
fn main() {
    use std::path::PathBuf;

    let folder = "BURN_INT8_ONNX";
    println!("cargo::rerun-if-env-changed={folder}");
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/onnx");
    let folder = std::env::var_os(folder).map_or_else(|| PathBuf::from(default), PathBuf::from);
    let mut models = burn_onnx::ModelGen::new();
    models.out_dir("models");
    for name in ["silero_vad", "nsnet2", "ddddocr", "ppocr_det"] {
        let file = folder.join(name).with_extension("onnx");
        println!("cargo::rerun-if-changed={}", file.display());
        if !file.is_file() {
            println!("cargo::error=there is no {}; apps/onnx/download.sh fetches it", file.display());
            return;
        }
        models.input(&file.to_string_lossy());
    }
    models.run_from_script();
}
