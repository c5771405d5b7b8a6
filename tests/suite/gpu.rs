//! The device that tests of kernels run on, and its backends.

use burn_cubecl::CubeBackend;
use cubecl::wgpu::{WgpuDevice, WgpuRuntime};

/// Burn's `Wgpu` without fusion.
pub type Plain = CubeBackend<WgpuRuntime, f32, i32, u32>;
/// Burn's `Wgpu` as it comes by default.
pub type Fused = burn_fusion::Fusion<Plain>;

/// Says whether there is a device. If not, prints so; if `BURN_INT8_REQUIRE_GPU` is set, fails, so that a skip can't look like a pass.
pub fn available() -> bool {
    use std::sync::LazyLock;
    static AVAILABLE: LazyLock<bool> = LazyLock::new(|| {
        let found =
            std::panic::catch_unwind(|| <WgpuRuntime as cubecl::Runtime>::client(&WgpuDevice::default()));
        match &found {
            Ok(client) => say(&format!("tests run on {}", <WgpuRuntime as cubecl::Runtime>::name(client))),
            Err(_) => say("SKIPPED: wgpu finds no adapter, so no kernel of a device was tested"),
        }
        assert!(
            found.is_ok() || std::env::var_os("BURN_INT8_REQUIRE_GPU").is_none(),
            "BURN_INT8_REQUIRE_GPU is set, but wgpu finds no adapter"
        );
        found.is_ok()
    });
    *AVAILABLE
}

/// Prints past the test runner, which keeps what a passing test prints to itself.
fn say(what: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{what}");
}
