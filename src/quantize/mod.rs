//! The swap: a mapper that turns float layers into INT8 ones as it passes through a model.

mod filter;
pub(crate) mod fold;
pub(crate) mod inspect;
pub(crate) mod plan;
pub(crate) mod report;

use std::any::{Any, TypeId};
use std::collections::{HashMap, HashSet};

use burn::module::{Module, ModuleMapper, ParamId};
use burn::prelude::*;

use crate::config::{Int8Config, LayerScheme};
use crate::error::{Int8Error, QuantizeError};
use crate::nn::layer::FloatLayer;
use crate::nn::weight::WeightParam;
use crate::nn::{DropIn, QLayer};
use crate::quantize::filter::Part;
use crate::quantize::inspect::{Census, Form};
use crate::quantize::plan::{LayerInfo, Rules};
use crate::quantize::report::Report;

/// Post-training INT8 quantization, for every Burn module.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, prelude::*};
/// use burn_int8::{nn::{Linear, LinearConfig}, prelude::*};
///
/// #[derive(Module, Debug)]
/// struct Mlp<B: Backend> {
///     fc1: Linear<B>,
///     fc2: Linear<B>,
/// }
///
/// let device = Default::default();
/// let model = Mlp::<NdArray> {
///     fc1: LinearConfig::new(10, 32).init(&device),
///     fc2: LinearConfig::new(32, 1).init(&device),
/// };
/// let (model, report) = model.quantize(&Int8Config::new().with_exclude(vec!["fc2".into()]))?;
/// assert!(model.fc1.is_int8() && !model.fc2.is_int8());
/// println!("{report}");
/// # Ok::<(), Int8Error>(())
/// ```
pub trait Quantize<B: Backend>: Module<B> {
    /// Swaps the layers that `config` names for INT8 layers.
    ///
    /// Everything is checked before anything is changed. Layers that are INT8 already stay as they are. Peak memory is that
    /// of the float model and one INT8 layer: each float layer is dropped as soon as it has been swapped.
    ///
    /// # Errors
    ///
    /// With the model as it was: [`Int8Error::NonFiniteWeight`], [`Int8Error::InvalidPattern`],
    /// [`Int8Error::UnmatchedPattern`], [`Int8Error::NothingToQuantize`], [`Int8Error::AlreadyInt8`].
    fn quantize(self, config: &Int8Config) -> Result<(Self, Report), QuantizeError<Self>> {
        quantize(self, Rules::new(config, None))
    }

    /// [`quantize`](Self::quantize), with a rule that is asked about every layer which the patterns of `config` let
    /// through: it returns the layer's scheme, or `None` to leave it float.
    ///
    /// # Errors
    ///
    /// As [`quantize`](Self::quantize).
    fn quantize_with(
        self,
        config: &Int8Config,
        rule: impl Fn(&LayerInfo) -> Option<LayerScheme> + Send + Sync + 'static,
    ) -> Result<(Self, Report), QuantizeError<Self>> {
        quantize(self, Rules::new(config, Some(Box::new(rule))))
    }

    /// Loads float weights into this model and swaps each layer as soon as it has its own, so that at no time more than
    /// one of the layers that `config` names is float: peak memory is that of the INT8 model and its largest float layer.
    ///
    /// `loader` fills the parameters that it is shown: burn-store's `Applier`, or a mapper of one's own. It is shown each
    /// once, first the layers to be swapped, then the rest. A layer that it does not fill and that has never been used
    /// stays float, as the report says. What a loader could not do it tells after.
    ///
    /// # Errors
    ///
    /// Before anything is loaded, with the model as it was: [`Int8Error::InvalidPattern`],
    /// [`Int8Error::UnmatchedPattern`], [`Int8Error::NothingToQuantize`], [`Int8Error::AlreadyInt8`]. While loading, with
    /// the model as far as it got: [`Int8Error::NonFiniteWeight`].
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, module::{ModuleMapper, Param}, prelude::*};
    /// use burn_int8::{nn::{Linear, LinearConfig}, prelude::*};
    ///
    /// /// Reads parameters from wherever they are.
    /// struct Loader;
    ///
    /// impl<B: Backend> ModuleMapper<B> for Loader {
    ///     fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
    ///         let (id, tensor) = (param.id, Tensor::ones(param.lazy_shape(), &param.lazy_device()));
    ///         param.transform_for_load(tensor, id)
    ///     }
    /// }
    ///
    /// let device = Default::default();
    /// let init = |_| LinearConfig::new(64, 64).init(&device); // no memory yet: parameters are made when they are read
    /// let model: Vec<Linear<NdArray>> = (0..8).map(init).collect();
    /// let (model, report) = model.quantize_on_load(&Int8Config::new(), &mut Loader)?;
    /// assert_eq!(report.int8_layers(), 8);
    /// # Ok::<(), Int8Error>(())
    /// ```
    fn quantize_on_load<L: ModuleMapper<B>>(
        self,
        config: &Int8Config,
        loader: &mut L,
    ) -> Result<(Self, Report), QuantizeError<Self>> {
        quantize_on_load(self, Rules::new(config, None), loader)
    }

    /// What is INT8 in this model and what is not, and why: also for a model that was loaded.
    fn int8_report(&self) -> Report {
        Report::of(&Census::of(self))
    }
}

impl<B: Backend, M: Module<B>> Quantize<B> for M {}

fn quantize<B: Backend, M: Module<B>>(
    model: M,
    rules: Result<Rules, Int8Error>,
) -> Result<(M, Report), QuantizeError<M>> {
    let checked = rules.and_then(|rules| check(rules, Census::with_weights_of(&model)));
    let Plan { rules, before, .. } = match checked {
        Ok(plan) => plan,
        Err(error) => return Err(QuantizeError::new(error, model)),
    };
    let mut swapper = QuantizeMapper::with_rules(rules);
    let model = model.map(&mut swapper);
    let after = Census::of(&model);
    Ok((model, Report::of_swap(&before, &after, &swapper.rules)))
}

fn quantize_on_load<B: Backend, M: Module<B>, L: ModuleMapper<B>>(
    mut model: M,
    rules: Result<Rules, Int8Error>,
    loader: &mut L,
) -> Result<(M, Report), QuantizeError<M>> {
    let Plan { rules, before, chosen } = match rules.and_then(|rules| check(rules, Census::of(&model))) {
        Ok(plan) => plan,
        Err(error) => return Err(QuantizeError::new(error, model)),
    };
    let mut swapper = QuantizeMapper::with_rules(rules);
    for path in &chosen {
        model = model.map(&mut Part::new(loader, |layer| layer == path));
        swapper.only = Some(path.clone());
        model = model.map(&mut swapper);
        if let Some(error) = swapper.error.take() {
            return Err(QuantizeError::new(error, model));
        }
    }
    let chosen: HashSet<_> = chosen.into_iter().collect();
    let model = model.map(&mut Part::new(loader, |layer| !chosen.contains(layer)));
    let after = Census::of(&model);
    Ok((model, Report::of_swap(&before, &after, &swapper.rules)))
}

/// What is to be done.
struct Plan {
    rules: Rules,
    before: Census,
    /// The paths of the layers to be swapped.
    chosen: Vec<String>,
}

/// Everything that could go wrong.
fn check(rules: Rules, before: Census) -> Result<Plan, Int8Error> {
    let layers = before.paths(|_| true);
    if let Some(pattern) = rules.unmatched(&layers) {
        return Err(Int8Error::UnmatchedPattern { pattern: pattern.into(), layers });
    }
    let mut chosen = Vec::new();
    for layer in &before.layers {
        if let Form::Float { non_finite } = layer.form
            && rules.decide(&layer.info).is_ok()
        {
            let path = layer.info.path.clone();
            if let Some(channel) = non_finite {
                return Err(Int8Error::NonFiniteWeight { path, channel });
            }
            chosen.push(path);
        }
    }
    if !chosen.is_empty() {
        return Ok(Plan { rules, before, chosen });
    }
    let int8 = before.paths(|form| matches!(form, Form::Int8(_)));
    if !int8.is_empty() {
        return Err(Int8Error::AlreadyInt8 { layers: int8 });
    }
    let left = before.paths(|form| matches!(form, Form::Float { .. }));
    Err(Int8Error::NothingToQuantize { left, stock: before.paths(|form| matches!(form, Form::Stock(_))) })
}

/// The [`ModuleMapper`] behind [`Quantize::quantize`].
///
/// Used directly it leaves a layer whose weights are not finite as it is. [`Quantize::int8_report`] tells what became of
/// the model.
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, module::Module};
/// use burn_int8::{QuantizeMapper, nn::LinearConfig, prelude::*};
///
/// let layer = LinearConfig::new(4, 4).init::<NdArray>(&Default::default());
/// let layer = layer.map(&mut QuantizeMapper::new(&Int8Config::new())?);
/// assert!(layer.is_int8());
/// # Ok::<(), Int8Error>(())
/// ```
pub struct QuantizeMapper {
    rules: Rules,
    path: Vec<String>,
    /// The path of the one layer to swap, if it is not all of them.
    only: Option<String>,
    /// Why a layer was not swapped.
    error: Option<Int8Error>,
    /// INT8 layers by the identity of their weight and by their type, so that tied layers go on sharing one copy.
    seen: HashMap<(ParamId, TypeId), Box<dyn Any>>,
}

impl QuantizeMapper {
    /// A swapper that follows `config`.
    ///
    /// # Errors
    ///
    /// [`Int8Error::InvalidPattern`].
    pub fn new(config: &Int8Config) -> Result<Self, Int8Error> {
        Rules::new(config, None).map(Self::with_rules)
    }

    fn with_rules(rules: Rules) -> Self {
        Self { rules, path: Vec::new(), only: None, error: None, seen: HashMap::new() }
    }

    /// What becomes of the layer at the current path.
    pub(crate) fn swap<L: FloatLayer>(&mut self, layer: DropIn<L>) -> DropIn<L> {
        let path = self.path.join(".");
        let float = match layer {
            DropIn::Float(float) if self.only.as_ref().is_none_or(|only| *only == path) => float,
            layer => return layer,
        };
        match self.int8(&float, path) {
            Some(int8) => DropIn::Int8(self.tie(float.weight().id(), int8)),
            None => DropIn::Float(float),
        }
    }

    fn int8<L: FloatLayer>(&mut self, float: &L, path: String) -> Option<QLayer<L>> {
        let shape = L::form(&float.options()).shape();
        let info = LayerInfo { path, kind: L::KIND, shape };
        let scheme = self.rules.decide(&info).ok()?;
        if self.only.is_some() && !float.weight().is_initialized() {
            return None; // the loader has no weights for it: those that it would draw are nobody's
        }
        match QLayer::from_float(float, &scheme) {
            Ok(int8) => Some(int8),
            Err(error) => {
                self.error = Some(error.at(info.path));
                None
            }
        }
    }

    /// Lets layers with the same weight share its memory. An identity alone is no proof: clones may have parted since.
    fn tie<L: FloatLayer>(&mut self, id: ParamId, mut layer: QLayer<L>) -> QLayer<L> {
        let id = (id, TypeId::of::<L>());
        match self.seen.get(&id).and_then(|other| other.downcast_ref::<QLayer<L>>()) {
            Some(other) => layer.share_weights(other),
            None => drop(self.seen.insert(id, Box::new(layer.clone()))),
        }
        layer
    }
}

impl<B: Backend> ModuleMapper<B> for QuantizeMapper {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
}
