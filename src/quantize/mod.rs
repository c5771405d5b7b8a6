//! Quantizing a model: what has layers, which of them become INT8, and how they are swapped.
//!
//! | file | what it does |
//! |---|---|
//! | `inspect` | lists the layers of a model |
//! | `plan` | decides about each of them, once |
//! | `swap` | carries out a plan |
//! | `on_load` | carries out a plan while weights are loaded |
//! | `report` | says what was done |
//! | `observe`, `sensitivity` | says what error each layer makes on inputs that a user has |
//! | `smooth` | smooths inputs by what was seen of them |
//! | `budget` | leaves as few layers as possible as they are, for answers near those of float |
//! | `fold` | takes BatchNorms out of a float model |

pub(crate) mod budget;
pub(crate) mod fold;
mod inspect;
mod observe;
mod on_load;
mod plan;
pub(crate) mod report;
pub(crate) mod sensitivity;
mod smooth;
mod swap;

use burn::module::{Module, ModuleMapper};
use burn::prelude::*;

use crate::config::{Int8Config, LayerScheme, Smoothing};
use crate::error::{Int8Error, QuantizeError};
use crate::outcome::LayerInfo;
use budget::{Budget, BudgetError, BudgetReport};
use inspect::LayerCollector;
use plan::Rules;
use report::Report;
use sensitivity::Sensitivity;

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
    /// [`Int8Error::UnmatchedPattern`], [`Int8Error::UnmatchedProduct`], [`Int8Error::NothingToQuantize`], [`Int8Error::AlreadyInt8`].
    ///
    /// [`Int8Error::NonFiniteWeight`]: crate::Int8Error::NonFiniteWeight
    /// [`Int8Error::InvalidPattern`]: crate::Int8Error::InvalidPattern
    /// [`Int8Error::UnmatchedPattern`]: crate::Int8Error::UnmatchedPattern
    /// [`Int8Error::NothingToQuantize`]: crate::Int8Error::NothingToQuantize
    /// [`Int8Error::AlreadyInt8`]: crate::Int8Error::AlreadyInt8
    fn quantize(self, config: &Int8Config) -> Result<(Self, Report), QuantizeError<Self>> {
        swap::quantize(self, Rules::new(config, None))
    }

    /// [`quantize`](Self::quantize), with a rule that is asked once about every float layer which the patterns of `config`
    /// let through: it returns the layer's scheme, or `None` to leave it float.
    ///
    /// # Errors
    ///
    /// The errors of [`quantize`](Self::quantize).
    fn quantize_with(
        self,
        config: &Int8Config,
        rule: impl Fn(&LayerInfo) -> Option<LayerScheme> + Send + Sync + 'static,
    ) -> Result<(Self, Report), QuantizeError<Self>> {
        swap::quantize(self, Rules::new(config, Some(Box::new(rule))))
    }

    /// Loads float weights into this model and makes each layer's integers as soon as its weight is there, so that at no time
    /// more than one of the weights that `config` names is float: peak memory is that of the INT8 model and its largest float
    /// weight.
    ///
    /// `loader` fills the parameters that it is shown: burn-store's `Applier`, or a mapper of one's own. It is shown each
    /// once, in the order of the model. A layer that it does not fill and that has never been used stays float, as the report
    /// says. What a loader could not do it tells after.
    ///
    /// # Errors
    ///
    /// Before anything is loaded, with the model as it was: [`Int8Error::InvalidPattern`],
    /// [`Int8Error::UnmatchedPattern`], [`Int8Error::NothingToQuantize`], [`Int8Error::AlreadyInt8`]. While loading, with
    /// the model as far as it got: [`Int8Error::NonFiniteWeight`]; the loader is shown nothing more.
    ///
    /// [`Int8Error::NonFiniteWeight`]: crate::Int8Error::NonFiniteWeight
    /// [`Int8Error::InvalidPattern`]: crate::Int8Error::InvalidPattern
    /// [`Int8Error::UnmatchedPattern`]: crate::Int8Error::UnmatchedPattern
    /// [`Int8Error::NothingToQuantize`]: crate::Int8Error::NothingToQuantize
    /// [`Int8Error::AlreadyInt8`]: crate::Int8Error::AlreadyInt8
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
        on_load::quantize_on_load(self, Rules::new(config, None), loader)
    }

    /// [`quantize_on_load`](Self::quantize_on_load), with the rule of [`quantize_with`](Self::quantize_with).
    ///
    /// # Errors
    ///
    /// The errors of [`quantize_on_load`](Self::quantize_on_load).
    ///
    /// # Example
    ///
    /// ```
    /// # use burn::{backend::NdArray, module::{ModuleMapper, Param}, prelude::*};
    /// # use burn_int8::{nn::{Linear, LinearConfig}, prelude::*};
    /// # struct Loader;
    /// # impl<B: Backend> ModuleMapper<B> for Loader {
    /// #     fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
    /// #         let (id, tensor) = (param.id, Tensor::ones(param.lazy_shape(), &param.lazy_device()));
    /// #         param.transform_for_load(tensor, id)
    /// #     }
    /// # }
    /// let init = |width| LinearConfig::new(64, width).init(&Default::default());
    /// let model: Vec<Linear<NdArray>> = [64, 8].map(init).into();
    /// let wide = |layer: &LayerInfo| (layer.shape[1] >= 64).then(LayerScheme::default);
    /// let (model, report) = model.quantize_on_load_with(&Int8Config::new(), wide, &mut Loader)?;
    /// assert_eq!(report.layers[1].skipped, Some(SkipReason::ByRule));
    /// # Ok::<(), Int8Error>(())
    /// ```
    fn quantize_on_load_with<L: ModuleMapper<B>>(
        self,
        config: &Int8Config,
        rule: impl Fn(&LayerInfo) -> Option<LayerScheme> + Send + Sync + 'static,
        loader: &mut L,
    ) -> Result<(Self, Report), QuantizeError<Self>> {
        on_load::quantize_on_load(self, Rules::new(config, Some(Box::new(rule))), loader)
    }

    /// Says what error INT8 would make in each layer, on inputs that the closure shows to the model that it is given: the float
    /// model, in which each layer that `config` names also computes what its INT8 forms would make of the same input.
    ///
    /// Beside the scheme of `config`, each layer is tried without rotation, with it, and weight-only. A layer that is called
    /// several times adds them up. The sums take as many bytes for a million inputs as for one; until the closure returns, the
    /// integers of the layers are in memory, too: a quarter of the bytes of the float weights for each rotation that is tried, of
    /// which there are at most two unless `config` names a block. This model stays as it is, also if the closure panics.
    ///
    /// A layer that no input reaches is listed as not seen. Inputs that are NaN or infinite are counted, and make the error of
    /// their layer [`Distortion::Infinite`](crate::Distortion::Infinite).
    ///
    /// # Errors
    ///
    /// [`Int8Error::NothingObserved`] if no layer has seen an input, and the errors of [`quantize`](Self::quantize).
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::{Distribution, Tensor}};
    /// use burn_int8::{nn::LinearConfig, prelude::*};
    ///
    /// let device = Default::default();
    /// let model = LinearConfig::new(64, 8).init::<NdArray>(&device);
    /// let batches = (0..10).map(|_| Tensor::<_, 2>::random([4, 64], Distribution::Default, &device));
    /// let sensitivity = model.sensitivity(&Int8Config::new(), |model| {
    ///     for x in batches {
    ///         model.forward(x);
    ///     }
    /// })?;
    /// println!("{sensitivity}"); // a table, the worst layer first
    /// let layer = &sensitivity.layers[0];
    /// assert_eq!((layer.calls, layer.input.unwrap().values), (10, 10 * 4 * 64));
    /// assert!(layer.distortion().unwrap().sqnr_db() > 30.0);
    /// # Ok::<(), Int8Error>(())
    /// ```
    fn sensitivity(&self, config: &Int8Config, run: impl FnOnce(&Self)) -> Result<Sensitivity, Int8Error> {
        observe::sensitivity(self, config, run)
    }

    /// [`quantize`](Self::quantize), with the inputs of linear layers smoothed by what the closure shows to the float model
    /// (SmoothQuant): what is large in an input becomes large in the weights instead, which are rounded channel by channel. With
    /// [`Smoothing::Percent`] the closure runs once; with [`Smoothing::Auto`] twice, and each layer gets the strength that errs
    /// least, or none. Rotation comes on top, as `config` says. Layers that no input reaches are not smoothed.
    ///
    /// # Errors
    ///
    /// With the model as it was: [`Int8Error::NothingObserved`](crate::Int8Error::NothingObserved) if no layer has seen an input, and
    /// the errors of [`quantize`](Self::quantize).
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::{Distribution, Tensor}};
    /// use burn_int8::{nn::{Linear, LinearConfig}, prelude::*};
    ///
    /// let device = Default::default();
    /// let model = LinearConfig::new(64, 8).init::<NdArray>(&device);
    /// let x = Tensor::<_, 2>::random([32, 64], Distribution::Default, &device);
    /// let run = |model: &Linear<_>| drop(model.forward(x.clone()));
    /// let (model, report) = model.quantize_smoothed(&Int8Config::new(), Smoothing::Auto, run)?;
    /// assert!(model.is_int8());
    /// # Ok::<(), Int8Error>(())
    /// ```
    fn quantize_smoothed(
        self,
        config: &Int8Config,
        smoothing: Smoothing,
        run: impl FnMut(&Self),
    ) -> Result<(Self, Report), QuantizeError<Self>> {
        smooth::quantize_smoothed(self, config, smoothing, run)
    }

    /// Quantizes as much as keeps the answers of this model near those of float: `run` returns the answers of the model that it is
    /// given, and `budget` says how near they stay.
    ///
    /// First the float model runs, once to see the inputs of its layers and once to see what schemes make of them. Then models are
    /// tried: as `config` says; with more and more layers, the worst first, rotated, smoothed, weight-only or float, whichever is
    /// the least that makes the layer better, to find by halves how many are needed; at last with layers taken back one by one. The
    /// least sacrifice that was found to be within the budget is carried out. A search that runs out of evaluations ends with the
    /// best that it has found.
    ///
    /// `run` must see the same inputs each time, without chance in them: no dropout (`model.valid()` has none). It decides what the
    /// result is worth: inputs that a model will never see say nothing about those that it will.
    ///
    /// # Errors
    ///
    /// With the model as it was: [`BudgetError::NotMet`], with the best choice that was found, if none that was tried is within
    /// the budget, and the other variants of [`BudgetError`]. A model of which every layer would have to stay float is no choice.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, tensor::{Distribution, Tensor}};
    /// use burn_int8::{nn::{Linear, LinearConfig}, prelude::*};
    ///
    /// let device = Default::default();
    /// let model: Vec<Linear<NdArray>> = (0..4).map(|_| LinearConfig::new(64, 64).init(&device)).collect();
    /// let x = Tensor::<_, 2>::random([8, 64], Distribution::Default, &device);
    /// let run = |model: &Vec<Linear<NdArray>>| model.iter().fold(x.clone(), |x, layer| layer.forward(x));
    /// let (model, report) = model.quantize_within(&Int8Config::new(), &Budget::sqnr_db(30.0), run)?;
    /// println!("{report}"); // what was done to each layer, and what was tried
    /// assert!(report.search.best().is_some_and(|best| best.within));
    /// # Ok::<(), BudgetError>(())
    /// ```
    ///
    /// With a loss, of which less is better:
    ///
    /// ```
    /// # use burn::{backend::NdArray, tensor::{Distribution, Tensor}};
    /// # use burn_int8::{nn::{Linear, LinearConfig}, prelude::*};
    /// # let device = Default::default();
    /// # let model = LinearConfig::new(64, 1).init::<NdArray>(&device);
    /// # let x = Tensor::<_, 2>::random([8, 64], Distribution::Default, &device);
    /// # let expected = Tensor::<_, 2>::zeros([8, 1], &device);
    /// let loss = |model: &Linear<NdArray>| {
    ///     let error = model.forward(x.clone()) - expected.clone();
    ///     f64::from(error.powf_scalar(2.0).mean().into_scalar())
    /// };
    /// let (model, report) = model.quantize_within(&Int8Config::new(), &Budget::relative_increase(0.05), loss)?;
    /// # Ok::<(), BudgetError>(())
    /// ```
    fn quantize_within<O>(
        self,
        config: &Int8Config,
        budget: &Budget<O>,
        run: impl FnMut(&Self) -> O,
    ) -> Result<(Self, BudgetReport), QuantizeError<Self, BudgetError>> {
        budget::within::quantize_within(self, config, budget, run)
    }

    /// Says what is INT8 in this model and what is not, and why: also for a model that was loaded.
    fn int8_report(&self) -> Report {
        Report::of(&LayerCollector::shapes_of(self))
    }
}

impl<B: Backend, M: Module<B>> Quantize<B> for M {}
