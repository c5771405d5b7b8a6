//! Carries out a plan while weights are loaded, in one pass of the loader through the model.

use std::collections::{HashMap, VecDeque};

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::prelude::*;
use burn_int8_kernels::WeightLayout;

use super::inspect::{FoundState, LayerCollector};
use super::plan::{Plan, Rules};
use super::report::Report;
use super::swap::PlanRule;
use crate::config::LayerScheme;
use crate::error::{Int8Error, QuantizeError};
use crate::nn::walk::{Decision, ModulePath, QuantizeMapper, quantize_parameter};
use crate::nn::weight::{Int8Weight, WeightParam};
use crate::outcome::SkipReason;

/// Two passes, however many layers there are: the first loads and makes the integers, weight by weight; the second, which reads
/// nothing, puts them into the layers.
pub(super) fn quantize_on_load<B: Backend, M: Module<B>, L: ModuleMapper<B>>(
    model: M,
    rules: Result<Rules, Int8Error>,
    loader: &mut L,
) -> Result<(M, Report), QuantizeError<M>> {
    let plan = match rules.and_then(|rules| Plan::new(&rules, LayerCollector::shapes_of(&model))) {
        Ok(plan) => plan,
        Err(error) => return Err(QuantizeError::new(error, model)),
    };
    let mut on_load = QuantizeOnLoad::new(loader, &plan);
    let model = model.map(&mut on_load);
    let QuantizeOnLoad { mut loaded, error, .. } = on_load;
    let rule = PlanRule::new(&plan, |index, scheme| match loaded.remove(&index) {
        Some(Loaded::Integers(weight)) => Decision::Take(Box::new(weight)),
        Some(Loaded::Parameter) => Decision::Loaded,
        Some(Loaded::Floats) => Decision::Quantize(plan.layers[index].how_to_quantize(scheme)),
        None => Decision::Skip(SkipReason::NoWeights),
    });
    let mut mapper = QuantizeMapper::following(rule);
    let model = model.map(&mut mapper);
    if let Some(error) = error.or_else(|| mapper.error()) {
        return Err(QuantizeError::new(error, model));
    }
    let report = Report::of_swap(&plan, mapper.outcomes(), &LayerCollector::shapes_of(&model));
    Ok((model, report))
}

/// A weight that is to become INT8, before it is loaded.
struct Awaited {
    /// The place of its layer in the plan.
    index: usize,
    /// The kind of its layer.
    kind: &'static str,
    layout: WeightLayout,
    scheme: LayerScheme,
    /// True if it is a parameter of a layer of Burn's, which becomes INT8 where it stands.
    is_parameter: bool,
}

/// The fate of an awaited weight.
enum Loaded<B: Backend> {
    /// Its integers; the layer holds a parameter without memory instead.
    Integers(Int8Weight<B>),
    /// It is the weight of a layer of Burn's and INT8 where it stands.
    Parameter,
    /// It is in the layer still, as it has another shape than before.
    Floats,
}

/// Lets the loader map each parameter, and quantizes those that are weights of layers to be swapped.
struct QuantizeOnLoad<'a, B: Backend, L> {
    loader: &'a mut L,
    path: ModulePath,
    /// The weights that are still to come, by the path of their layer.
    awaited: HashMap<String, VecDeque<Awaited>>,
    /// The weights that came, by the place of their layer in the plan.
    loaded: HashMap<usize, Loaded<B>>,
    /// The INT8 weights by the identity of the float one, so that tied layers share one copy from the start.
    tied: HashMap<ParamId, Int8Weight<B>>,
    error: Option<Int8Error>,
}

impl<'a, B: Backend, L> QuantizeOnLoad<'a, B, L> {
    fn new(loader: &'a mut L, plan: &Plan) -> Self {
        let mut awaited = HashMap::<String, VecDeque<Awaited>>::new();
        for (index, layer) in plan.layers.iter().enumerate() {
            let (found, decision) = (&layer.found, &layer.decision);
            if let (&FoundState::Float { layout, is_parameter, .. }, &Ok(scheme)) = (&found.state, decision) {
                let weight = Awaited { index, kind: found.info.kind, layout, scheme, is_parameter };
                awaited.entry(found.info.path.clone()).or_default().push_back(weight);
            }
        }
        let (loaded, tied) = (HashMap::new(), HashMap::new());
        Self { loader, path: ModulePath::default(), awaited, loaded, tied, error: None }
    }

    /// Takes the weight out of its layer, and leaves a parameter there that computes it from the integers if it is read.
    fn quantize<const D: usize>(
        &mut self,
        param: Param<Tensor<B, D>>,
        weight: Awaited,
        path: String,
    ) -> Param<Tensor<B, D>> {
        if !param.is_initialized() {
            return param; // the loader has no weight for it: the values that it would draw are nobody's
        }
        if WeightParam::shape(&param) != weight.layout.shape() {
            self.loaded.insert(weight.index, Loaded::Floats);
            return param;
        }
        if weight.is_parameter {
            return self.quantize_parameter(param, weight, path);
        }
        match param.quantize(weight.layout, weight.scheme) {
            Ok(mut int8) => {
                self.tie(&mut int8);
                let placeholder = placeholder(param, &int8);
                self.loaded.insert(weight.index, Loaded::Integers(int8));
                placeholder
            }
            Err(error) => {
                self.error = Some(Int8Error::NonFiniteWeight { path, channel: error.channel });
                param
            }
        }
    }

    /// Makes a parameter INT8 where it stands.
    fn quantize_parameter<const D: usize>(
        &mut self,
        param: Param<Tensor<B, D>>,
        weight: Awaited,
        path: String,
    ) -> Param<Tensor<B, D>> {
        let (param, result) = quantize_parameter(param, weight.kind, weight.layout, weight.scheme, &[]);
        match result {
            Ok(_) => drop(self.loaded.insert(weight.index, Loaded::Parameter)),
            Err(SkipReason::NonFiniteWeight { channel }) => {
                self.error = Some(Int8Error::NonFiniteWeight { path, channel });
            }
            Err(_) => drop(self.loaded.insert(weight.index, Loaded::Floats)),
        }
        param
    }

    fn tie(&mut self, weight: &mut Int8Weight<B>) {
        match self.tied.get(&weight.id) {
            Some(other) => weight.weights.share(&other.weights),
            None => drop(self.tied.insert(weight.id, weight.clone())),
        }
    }
}

/// A parameter that stands for `float` until its layer is swapped. It has the way in which `float` is saved, by which a
/// linear layer recognises its layout.
fn placeholder<B: Backend, const D: usize>(
    float: Param<Tensor<B, D>>,
    int8: &Int8Weight<B>,
) -> Param<Tensor<B, D>> {
    let (id, device) = (float.id, int8.device.clone());
    let (_, value, as_loaded) = float.consume();
    let (as_saved, weights) = (as_loaded.clone(), int8.weights.clone());
    // Burn's convention: until a parameter is read, its shape is that in which it is saved.
    let shape = as_saved.on_save(value).shape();
    let read = move |device: &B::Device, _| weights.dequantize(device);
    let param = Param::uninitialized(id, read, device, false, shape);
    param.load_mapper(move |value| as_loaded.on_load(value)).save_mapper(move |value| as_saved.on_save(value))
}

impl<B: Backend, L: ModuleMapper<B>> ModuleMapper<B> for QuantizeOnLoad<'_, B, L> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
        self.loader.enter_module(name, container);
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.path.exit();
        self.loader.exit_module(name, container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        if self.error.is_some() {
            return param;
        }
        let param = self.loader.map_float(param);
        for path in self.path.layer_or_parameter() {
            if let Some(weight) = self.awaited.get_mut(&path).and_then(VecDeque::pop_front) {
                return self.quantize(param, weight, path);
            }
        }
        param
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<B, D, Int>>) -> Param<Tensor<B, D, Int>> {
        if self.error.is_some() { param } else { self.loader.map_int(param) }
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<B, D, Bool>>) -> Param<Tensor<B, D, Bool>> {
        if self.error.is_some() { param } else { self.loader.map_bool(param) }
    }
}
