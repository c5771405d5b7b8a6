//! The house rules that a compiler does not check.

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder of the crate");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// Imports go down only: the kernels know nothing of Burn, nor of the floors above them.
#[test]
fn kernels_do_not_know_burn() {
    let kernel = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel");
    for file in sources(&kernel) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        for line in text.lines().filter(|line| line.trim_start().starts_with("use ")) {
            let words = ["burn::", "burn_", "crate::nn", "crate::backend", "crate::mapper"];
            assert!(!words.iter().any(|word| line.contains(word)), "{}: {line}", file.display());
        }
    }
}
