//! ONNX Runtime, from a shared library and model files that have to be there.

use std::error::Error;
use std::hint::black_box;
use std::path::PathBuf;

use ort::environment::Environment;
use ort::session::Session;
use ort::value::Tensor;

use crate::peers::Ready;
use crate::shape::Shape;
use crate::task::{Task, relative_rms};

/// The variable that names the shared library, as `ort` calls it.
const LIBRARY: &str = "ORT_DYLIB_PATH";

pub const FLOAT: &str = "ONNX Runtime f32";
pub const DYNAMIC_INT8: &str = "ONNX Runtime dynamic int8";
pub const STATIC_INT8: &str = "ONNX Runtime static int8";

pub struct Onnx {
    environment: Environment,
    models: PathBuf,
    threads: usize,
}

impl Onnx {
    /// The error is a reason to go on without it.
    pub fn load(models: PathBuf, threads: usize) -> Result<Self, Box<dyn Error>> {
        let library = std::env::var(LIBRARY)
            .map_err(|_| format!("{LIBRARY} is not set; make_models.py prints what to set"))?;
        if !models.is_dir() {
            return Err(format!("there is no {}; make_models.py writes it", models.display()).into());
        }
        let environment = ort::init_from(library)?.build()?;
        Ok(Self { environment, models, threads })
    }

    pub fn float(&self, task: &Task) -> Ready {
        let mut session = self.session("f32", task.shape)?;
        let x = input(task)?;
        let call = move || drop(black_box(run(&mut session, &x)));
        Ok((Box::new(call), None))
    }

    pub fn int8(&self, task: &Task) -> Ready {
        let x = input(task)?;
        let expected = output(&mut self.session("f32", task.shape)?, &x)?;
        let mut session = self.session("int8", task.shape)?;
        let error = relative_rms(&output(&mut session, &x)?, &expected);
        let call = move || drop(black_box(run(&mut session, &x)));
        Ok((Box::new(call), Some(error)))
    }

    fn session(&self, kind: &str, shape: Shape) -> Result<Session, Box<dyn Error>> {
        let path = self.models.join(format!("{}.{kind}.onnx", shape.model()));
        if !path.exists() {
            return Err(format!("there is no {}; make_models.py writes it", path.display()).into());
        }
        let builder = Session::builder(&self.environment)?;
        Ok(builder.with_intra_threads(self.threads)?.commit_from_file(path)?)
    }
}

fn input(task: &Task) -> ort::Result<Tensor<f32>> {
    Tensor::from_array((task.shape.input(), task.x.clone()))
}

fn run<'s>(session: &'s mut Session, x: &Tensor<f32>) -> ort::session::SessionOutputs<'s> {
    session.run(ort::inputs!["x" => x.view()]).expect("the model has one input, of this shape")
}

fn output(session: &mut Session, x: &Tensor<f32>) -> Result<Vec<f32>, Box<dyn Error>> {
    Ok(run(session, x)["y"].try_extract_tensor::<f32>()?.1.to_vec())
}
