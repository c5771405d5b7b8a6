//! The dot product of four pairs of bytes in one instruction.

use cubecl::ir::{Arithmetic, BinaryOperator, Instruction};
use cubecl::prelude::*;

/// The sum of the products of four signed bytes and four others.
///
/// CubeCL's own `dot` of bytes gives a byte, which wraps; this one gives an `i32`. Only SPIR-V has an instruction for it.
#[cube]
pub(crate) fn dot(a: i32, b: i32) -> i32 {
    dot_of_bytes(Vector::<i8, Const<4>>::reinterpret(a), Vector::<i8, Const<4>>::reinterpret(b))
}

#[cube]
#[allow(unused_variables, reason = "the intrinsic names them")]
fn dot_of_bytes(a: Vector<i8, Const<4>>, b: Vector<i8, Const<4>>) -> i32 {
    intrinsic!(|scope| {
        let out = scope.create_local(i32::as_type(scope));
        let operands = BinaryOperator { lhs: *a.expand, rhs: *b.expand };
        scope.register(Instruction::new(Arithmetic::Dot(operands), *out));
        out.into()
    })
}

/// One dot product for each unit.
#[cube(launch_unchecked)]
pub(crate) fn dots(a: &Array<i32>, b: &Array<i32>, out: &mut Array<i32>) {
    if ABSOLUTE_POS < out.len() {
        out[ABSOLUTE_POS] = dot(a[ABSOLUTE_POS], b[ABSOLUTE_POS]);
    }
}
