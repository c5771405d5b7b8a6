//! ONNX Runtime, from a shared library and model files that have to be there.

use std::hint::black_box;
use std::path::PathBuf;

use ort::environment::Environment;
use ort::session::{Session, SessionInputValue, SessionOutputs};
use ort::value::DynValue;
use ort::value::Tensor;

use crate::case::{Array, Case, Values};
use crate::contestant::{Contestant, Problem};

/// The variable that names the shared library, as `ort` calls it.
const LIBRARY: &str = "ORT_DYLIB_PATH";

pub struct Onnx {
    environment: Environment,
    models: PathBuf,
    threads: usize,
}

impl Onnx {
    /// The error is a reason to go on without it.
    pub fn load(models: PathBuf, threads: usize) -> Result<Self, Problem> {
        let library = std::env::var(LIBRARY).map_err(|_| format!("{LIBRARY} is not set; run.sh sets it"))?;
        if !models.is_dir() {
            return Err(format!("there is no {}; run.sh makes it", models.display()).into());
        }
        let environment = ort::init_from(library)?.build()?;
        Ok(Self { environment, models, threads })
    }

    /// A session with the file of this kind, `f32` or `int8`.
    pub fn session(&self, case: &Case, kind: &str) -> Result<Box<dyn Contestant>, Problem> {
        let path = self.models.join(format!("{}.{kind}.onnx", case.name.id()));
        if !path.exists() {
            return Err(format!("there is no {}; models.py writes it", path.display()).into());
        }
        let builder = Session::builder(&self.environment)?;
        let session = builder.with_intra_threads(self.threads)?.commit_from_file(path)?;
        let inputs = case.inputs().into_iter().map(tensor).collect::<Result<_, _>>()?;
        Ok(Box::new(Loaded { session, inputs }))
    }
}

fn tensor(array: Array) -> Result<(String, DynValue), Problem> {
    let tensor = match array.values {
        Values::Floats(values) => Tensor::from_array((array.shape, values))?.into_dyn(),
        Values::Tokens(values) => Tensor::from_array((array.shape, values))?.into_dyn(),
    };
    Ok((array.name, tensor))
}

struct Loaded {
    session: Session,
    inputs: Vec<(String, DynValue)>,
}

impl Loaded {
    fn outputs(&mut self) -> Result<SessionOutputs<'_>, Problem> {
        let inputs: Vec<(&str, SessionInputValue<'_>)> =
            self.inputs.iter().map(|(name, value)| (name.as_str(), value.into())).collect();
        Ok(self.session.run(inputs)?)
    }
}

impl Contestant for Loaded {
    fn run(&mut self) {
        black_box(self.outputs().expect("it has run before"));
    }

    fn output(&mut self) -> Result<Vec<f32>, Problem> {
        Ok(self.outputs()?["y"].try_extract_tensor::<f32>()?.1.to_vec())
    }
}
