//! The INT8 form of a layer as a module of Burn's.

use burn::module::{
    AutodiffModule, Content, Devices, DisplaySettings, HasAutodiffModule, Module, ModuleDisplay,
    ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param,
};
use burn::prelude::*;
use burn::tensor::backend::AutodiffBackend;

use super::layer::{FloatLayer, LayerParts};
use super::qlayer::{QLayer, freeze};
use super::weight::{Int8Weight, WeightParam};
use crate::cast::as_type;
use crate::nn::record::{LayerRecord, SavedLayer};
use crate::nn::walk::{FloatBytes, Int8Facts, LayerVisitor, QuantizeMapper};

impl<L: FloatLayer> QLayer<L> {
    /// The facts that the report shows.
    fn facts(&self) -> Int8Facts {
        let sizes = self.sizes();
        let bias = FloatBytes::new::<L::Backend>(sizes.bias.unwrap_or(0));
        let (copy_bytes, copy) = self.weight.weights.memory();
        Int8Facts {
            kind: L::KIND,
            scheme: self.weight.scheme,
            sqnr_db: self.weight.sqnr_db,
            kernel: self.weight.weights.kernel(),
            float_bytes: FloatBytes::new::<L::Backend>(self.count()).saved,
            int8_bytes: self.weight.saved_bytes() + bias.saved,
            memory_bytes: copy_bytes + bias.memory,
            copy,
            float_reads: 0,
            shape: sizes.shape,
        }
    }

    /// The number of its parameters.
    fn count(&self) -> usize {
        self.weight.weights.layout().len() + self.sizes().bias.unwrap_or(0)
    }
}

impl<B: Backend, L: FloatLayer<Backend = B>> Module<B> for QLayer<L> {
    type Record = LayerRecord<L>;

    fn collect_devices(&self, mut devices: Devices<B>) -> Devices<B> {
        if !devices.contains(&self.weight.device) {
            devices.push(self.weight.device.clone());
        }
        self.bias.collect_devices(devices)
    }

    fn fork(self, device: &B::Device) -> Self {
        let weight = self.weight.to_device(device);
        Self { weight, bias: self.bias.fork(device), ..self }
    }

    fn to_device(self, device: &B::Device) -> Self {
        let weight = self.weight.to_device(device);
        Self { weight, bias: self.bias.to_device(device), ..self }
    }

    fn num_params(&self) -> usize {
        self.count()
    }

    /// Shows the weight as the float parameter that it stands for, made only if the visitor reads it.
    fn visit<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        if let Some(visitor) = as_type::<V, LayerVisitor>(visitor) {
            return visitor.int8(self.facts());
        }
        let container = container::<L>();
        visitor.enter_module("weight", &container);
        <L as LayerParts<B>>::Weight::dequantized(&self.weight).visit(visitor);
        visitor.exit_module("weight", &container);
        visitor.enter_module("bias", &container);
        self.bias.visit(visitor);
        visitor.exit_module("bias", &container);
    }

    /// Shows no parameters: a mapper that loads or trains would change the bias alone, which belongs to these integers.
    fn map<M: ModuleMapper<B>>(self, mapper: &mut M) -> Self {
        if let Some(mapper) = as_type::<M, QuantizeMapper>(mapper) {
            mapper.pass_int8(L::KIND, self.weight.weights.layout().shape());
        }
        self
    }

    fn load_record(self, record: Self::Record) -> Self {
        let sizes = self.sizes();
        match record.0 {
            SavedLayer::Int8 { weight, bias } => {
                Self::load(weight, bias, self.options, &sizes, &self.weight.device)
            }
            SavedLayer::Float(_) => panic!(
                "Q{kind}: the record holds a float layer, but the layer is INT8 {sizes}; load it into `burn_int8::nn::{kind}`",
                kind = L::KIND,
            ),
        }
    }

    fn into_record(self) -> Self::Record {
        let bias = self.bias.map(Module::into_record);
        LayerRecord(SavedLayer::Int8 { weight: self.weight.into_saved(L::KIND), bias })
    }
}

/// The container that a visitor is told it enters.
fn container<L: FloatLayer>() -> String {
    format!("Struct:Q{}", L::KIND)
}

#[allow(private_bounds, reason = "the parts of a layer are sealed")]
impl<B, L> AutodiffModule<B> for QLayer<L>
where
    B: AutodiffBackend,
    L: FloatLayer<Backend = B> + LayerParts<B> + AutodiffModule<B>,
    L::InnerModule: FloatLayer<Backend = B::InnerBackend>
        + LayerParts<B::InnerBackend, Options = <L as LayerParts<B>>::Options>,
{
    type InnerModule = QLayer<L::InnerModule>;

    fn valid(&self) -> Self::InnerModule {
        QLayer { weight: self.weight.inner(), bias: self.bias.valid(), options: self.options.clone() }
    }

    fn from_inner(inner: Self::InnerModule) -> Self {
        let bias = inner.bias.map(|bias| freeze(Param::from_inner(bias)));
        Self { weight: Int8Weight::from_inner(inner.weight), bias, options: inner.options }
    }
}

#[allow(private_bounds, reason = "the parts of a layer are sealed")]
impl<B, L> HasAutodiffModule<B> for QLayer<L>
where
    B: AutodiffBackend,
    L: FloatLayer<Backend = B::InnerBackend> + LayerParts<B::InnerBackend> + HasAutodiffModule<B>,
    L::TrainModule: FloatLayer<Backend = B> + LayerParts<B>,
    QLayer<L::TrainModule>: AutodiffModule<B, InnerModule = Self>,
{
    type TrainModule = QLayer<L::TrainModule>;
}

impl<L: FloatLayer> ModuleDisplayDefault for QLayer<L> {
    fn content(&self, content: Content) -> Option<Content> {
        let content = content.set_top_level_type(&format!("Q{}", L::KIND));
        L::describe(&self.options, self.bias.is_some(), content)
            .add_debug_attribute("activations", &self.weight.scheme.mode)
            .optional()
    }

    fn num_params(&self) -> usize {
        self.count()
    }
}

impl<L: FloatLayer> ModuleDisplay for QLayer<L> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().with_new_line_after_attribute(false).optional()
    }
}

impl<L: FloatLayer> std::fmt::Display for QLayer<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.format(DisplaySettings::default()))
    }
}
