//! A mapper that is shown only some of a model.

use burn::module::{ModuleMapper, Param};
use burn::prelude::*;

/// Shows `mapper` the parameters of those modules whose path `takes` says yes to; all others stay as they are.
pub(crate) struct Part<'a, M, F> {
    mapper: &'a mut M,
    takes: F,
    path: Vec<String>,
}

impl<'a, M, F: Fn(&str) -> bool> Part<'a, M, F> {
    pub(crate) fn new(mapper: &'a mut M, takes: F) -> Self {
        Self { mapper, takes, path: Vec::new() }
    }

    /// Whether the parameter at the current path belongs to it.
    fn is_shown(&self) -> bool {
        let module = self.path.split_last().map_or(String::new(), |(_, module)| module.join("."));
        (self.takes)(&module)
    }
}

impl<B: Backend, M: ModuleMapper<B>, F: Fn(&str) -> bool> ModuleMapper<B> for Part<'_, M, F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.into());
        self.mapper.enter_module(name, container);
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.path.pop();
        self.mapper.exit_module(name, container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.is_shown() { self.mapper.map_float(param) } else { param }
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<B, D, Int>>) -> Param<Tensor<B, D, Int>> {
        if self.is_shown() { self.mapper.map_int(param) } else { param }
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<B, D, Bool>>) -> Param<Tensor<B, D, Bool>> {
        if self.is_shown() { self.mapper.map_bool(param) } else { param }
    }
}
