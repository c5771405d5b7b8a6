//! Cases and models that several test files share.

pub mod conv_case;
pub mod models;
