//! A model of a checkpoint, float or INT8.

use std::rc::Rc;

use burn::module::{Module, ModuleMapper, Param};
use burn::prelude::*;
use burn::tensor::{DType, TensorData};
use burn_int8::prelude::*;
use burn_store::{Applier, ModuleAdapter, PyTorchToBurnAdapter, TensorSnapshot, TensorSnapshotError};
use indicatif::ProgressBar;

use crate::checkpoint::Checkpoint;
use crate::error::ModelError;
use crate::show;

/// The configuration of a model that becomes INT8 while it is loaded; none if it stays float.
pub type Quantized<'a> = Option<&'a Int8Config>;

/// Fills a fresh model from a checkpoint; `norm_offset` is what the file leaves out of the weights of norms.
pub fn from_checkpoint<B: Backend, M: Module<B>>(
    model: M,
    checkpoint: Checkpoint,
    norm_offset: f32,
    int8: Quantized<'_>,
) -> Result<(M, Report), ModelError> {
    let snapshots = checkpoint.for_model(&model)?;
    let adapter: Box<dyn ModuleAdapter> = Box::new(FromTorch { norm_offset });
    let mut applier = Applier::<B>::new(snapshots, None, Some(adapter), false);
    let filled = fill(model, &mut applier, int8)?;
    let result = applier.into_result();
    match result.errors.first() {
        Some(error) => Err(ModelError::Unreadable { reason: error.to_string() }),
        None => Ok(filled),
    }
}

/// Fills a fresh model by `loader`, with a progress bar.
pub fn fill<B: Backend, M: Module<B>>(
    model: M,
    loader: &mut impl ModuleMapper<B>,
    int8: Quantized<'_>,
) -> Result<(M, Report), ModelError> {
    // Not `num_params`, which would make all parameters.
    let parameters = model.int8_report().bytes_before() / size_of::<f32>();
    let bar = show::progress(parameters, if int8.is_some() { "load, quantize" } else { "load" });
    let mut loader = WithProgress { loader, bar };
    let filled = match int8 {
        Some(config) => model.quantize_on_load(config, &mut loader).map_err(Int8Error::from)?,
        None => {
            let model = model.map(&mut loader);
            let report = model.int8_report();
            (model, report)
        }
    };
    loader.bar.finish_and_clear();
    Ok(filled)
}

struct WithProgress<'a, L> {
    loader: &'a mut L,
    bar: ProgressBar,
}

impl<B: Backend, L: ModuleMapper<B>> ModuleMapper<B> for WithProgress<'_, L> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.loader.enter_module(name, container);
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.loader.exit_module(name, container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let param = self.loader.map_float(param);
        self.bar.inc(param.lazy_shape().num_elements() as u64);
        param
    }
}

/// PyTorch's layouts, whatever float type they are in, as Burn's.
#[derive(Clone)]
struct FromTorch {
    norm_offset: f32,
}

impl ModuleAdapter for FromTorch {
    fn adapt(&self, snapshot: &TensorSnapshot) -> TensorSnapshot {
        let is_norm = snapshot.module_type().is_some_and(|kind| kind == "Struct:RmsNorm");
        let offset = if is_norm { self.norm_offset } else { 0.0 };
        let snapshot = PyTorchToBurnAdapter.adapt(snapshot);
        let read = snapshot.clone_data_fn();
        let read = move || -> Result<TensorData, TensorSnapshotError> {
            let data = read()?.convert::<f32>();
            if offset == 0.0 {
                return Ok(data);
            }
            let shape = data.shape.clone();
            let values = data.iter::<f32>().map(|weight| offset + weight).collect::<Vec<_>>();
            Ok(TensorData::new(values, shape))
        };
        let (path, containers) = (snapshot.path_stack, snapshot.container_stack);
        TensorSnapshot::from_closure(
            Rc::new(read),
            DType::F32,
            snapshot.shape,
            path.unwrap_or_default(),
            containers.unwrap_or_default(),
            snapshot.tensor_id.unwrap_or_default(),
        )
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}
