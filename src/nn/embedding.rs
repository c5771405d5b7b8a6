//! `Embedding` and `QEmbedding`.

use burn::config::Config;
use burn::module::{Content, Initializer, Param};
use burn::nn;
use burn::prelude::*;

use super::drop_in::DropIn;
use super::layer::{Bias, FloatLayer, LayerParts};
use super::qlayer::QLayer;
use super::record::OutputAxis;
use super::straight_through::straight_through;
use crate::ops::LinearOp;
use burn_int8_kernels::WeightLayout;

/// A table of vectors, looked up by index.
///
/// Burn's [`burn::nn::Embedding`], until it is quantized: then a [`QEmbedding`].
pub type Embedding<B> = DropIn<nn::Embedding<B>>;

/// A table of vectors in INT8, one scale per vector.
pub type QEmbedding<B> = QLayer<nn::Embedding<B>>;

/// Configuration to create an [`Embedding`] layer using [`init`](EmbeddingConfig::init); the same as
/// [`burn::nn::EmbeddingConfig`].
///
/// # Example
///
/// ```
/// use burn::{backend::NdArray, prelude::*};
/// use burn_int8::{nn::EmbeddingConfig, prelude::*};
///
/// let device = Default::default();
/// let embedding = EmbeddingConfig::new(50, 16).init::<NdArray>(&device);
/// let (embedding, _) = embedding.quantize(&Int8Config::new())?;
///
/// let tokens = Tensor::<NdArray, 2, Int>::from_data([[3, 1, 4], [1, 5, 9]], &device);
/// let vectors = embedding.forward(tokens);
/// assert_eq!(vectors.dims(), [2, 3, 16]);
/// assert_eq!(embedding.logits(vectors).dims(), [2, 3, 50]); // the same table as an output head
/// # Ok::<(), Int8Error>(())
/// ```
#[derive(Config, Debug)]
pub struct EmbeddingConfig {
    /// The number of embedding vectors.
    pub n_embedding: usize,
    /// The size of each vector.
    pub d_model: usize,
    /// The type of function used to initialize neural network parameters.
    #[config(default = "nn::EmbeddingConfig::new(1, 1).initializer")]
    pub initializer: Initializer,
}

impl EmbeddingConfig {
    /// Initialize a new [`Embedding`] module.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Embedding<B> {
        self.to_burn().init(device).into()
    }

    /// An INT8 layer with all vectors zero, to load a record into.
    pub fn init_int8<B: Backend>(&self, device: &B::Device) -> QEmbedding<B> {
        QLayer::zeros(&self.to_burn().init(device))
    }

    fn to_burn(&self) -> nn::EmbeddingConfig {
        nn::EmbeddingConfig::new(self.n_embedding, self.d_model).with_initializer(self.initializer.clone())
    }
}

impl<B: Backend> DropIn<nn::Embedding<B>> {
    /// Looks up vectors.
    ///
    /// # Shapes
    ///
    /// - input: `[batch_size, seq_length]`, indices below `n_embedding`
    /// - output: `[batch_size, seq_length, d_model]`
    ///
    /// # Panics
    ///
    /// If an index is not below `n_embedding`: once it is INT8 always, while it is float where Burn's layer does.
    pub fn forward(&self, input: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        match self {
            Self::Float(embedding) => embedding.forward(input),
            Self::Int8(embedding) => embedding.forward(input),
            Self::Observed(embedding) => {
                embedding.look_up(|float| float.forward(input.clone()), |int8| int8.forward(input.clone()))
            }
        }
    }

    /// The product of the last axis of the input with each vector of the table: the output head of a model whose input
    /// and output share one table.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_model]`
    /// - output: `[..., n_embedding]`, of the input's float type
    ///
    /// # Panics
    ///
    /// If the last axis of the input is not `d_model`.
    pub fn logits<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Float(embedding) => float_logits(embedding, input, "Embedding"),
            Self::Int8(embedding) => embedding.logits(input),
            Self::Observed(embedding) => embedding.forward(
                input,
                |float, x| float_logits(float, x, "Embedding"),
                |int8, x| int8.logits(x),
            ),
        }
    }
}

impl<B: Backend> QLayer<nn::Embedding<B>> {
    /// Looks up vectors: `scale[i] * integers[i, :]`, only of the rows that are asked for.
    ///
    /// # Shapes
    ///
    /// - input: `[batch_size, seq_length]`, indices below `n_embedding`
    /// - output: `[batch_size, seq_length, d_model]`, of the backend's float type
    ///
    /// # Panics
    ///
    /// If an index is not below `n_embedding`.
    pub fn forward(&self, input: Tensor<B, 2, Int>) -> Tensor<B, 3> {
        self.weight.weights.embed(input)
    }

    /// The product of the last axis of the input with each vector of the table, as
    /// [`QLinear::forward`](super::QLinear::forward) computes it: `x · tableᵀ`, the table never becomes float.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_model]`
    /// - output: `[..., n_embedding]`, of the input's float type
    ///
    /// # Panics
    ///
    /// If the last axis of the input is not `d_model`.
    ///
    /// # Example
    ///
    /// ```
    /// use burn::{backend::NdArray, nn, prelude::*};
    /// use burn_int8::{LayerScheme, nn::QEmbedding};
    ///
    /// let device = Default::default();
    /// let table = nn::EmbeddingConfig::new(50, 16).init::<NdArray>(&device);
    /// let table = QEmbedding::from_float(&table, &LayerScheme::default())?;
    /// assert_eq!(table.logits(Tensor::<_, 2>::ones([4, 16], &device)).dims(), [4, 50]);
    /// # Ok::<(), burn_int8::Int8Error>(())
    /// ```
    pub fn logits<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        assert_width(&input, [self.options.n_embedding, self.options.d_model], "QEmbedding");
        let op = LinearOp::new(self.weight.scheme, None);
        let float = |table: &nn::Embedding<B>, x| float_logits(table, x, "QEmbedding");
        straight_through(self, input, |x| self.weight.weights.linear(x, op), float)
    }
}

fn float_logits<B: Backend, const D: usize>(
    embedding: &nn::Embedding<B>,
    input: Tensor<B, D>,
    kind: &str,
) -> Tensor<B, D> {
    let table = embedding.weight.val();
    let [entries, width] = table.dims();
    assert_width(&input, [entries, width], kind);
    let mut shape = input.dims();
    shape[D - 1] = entries;
    let rows = input.reshape([-1, width as i64]);
    // Not `input · tableᵀ`: Burn's CPU backend would copy the table, column by column, in each call.
    table.matmul(rows.transpose()).transpose().reshape(shape)
}

fn assert_width<B: Backend, const D: usize>(input: &Tensor<B, D>, table: [usize; 2], kind: &str) {
    let (shape, [_, width]) = (input.dims(), table);
    assert!(
        shape[D - 1] == width,
        "{kind}: the last axis of an input of shape {shape:?} must be {width}, as the table is {table:?}",
    );
}

/// The sizes of a table.
#[derive(Clone, Debug)]
pub struct EmbeddingOptions {
    n_embedding: usize,
    d_model: usize,
}

impl<B: Backend> FloatLayer for nn::Embedding<B> {
    type Backend = B;
    const KIND: &'static str = "Embedding";
}

impl<B: Backend> LayerParts<B> for nn::Embedding<B> {
    type Weight = Param<Tensor<B, 2>>;
    type Options = EmbeddingOptions;
    const FIELDS: &'static [&'static str] = &["weight"];
    const OUTPUTS: OutputAxis = OutputAxis::First;

    fn options(&self) -> EmbeddingOptions {
        let [n_embedding, d_model] = self.weight.lazy_shape().dims();
        EmbeddingOptions { n_embedding, d_model }
    }

    fn layout(options: &EmbeddingOptions) -> WeightLayout {
        WeightLayout::Table([options.n_embedding, options.d_model])
    }

    fn weight(&self) -> &Self::Weight {
        &self.weight
    }

    fn bias(&self) -> Option<&Bias<B>> {
        None
    }

    fn new(_: &EmbeddingOptions, weight: Self::Weight, _: Option<Bias<B>>) -> Self {
        Self { weight }
    }

    fn record(weight: Self::Weight, _: Option<Bias<B>>) -> Self::Record {
        nn::EmbeddingRecord { weight }
    }

    fn record_parts(record: Self::Record) -> (Self::Weight, Option<Bias<B>>) {
        (record.weight, None)
    }

    fn describe(options: &EmbeddingOptions, _: bool, content: Content) -> Content {
        content.add("n_embedding", &options.n_embedding).add("d_model", &options.d_model)
    }
}
