//! `espalier-worker doctor`: what this device is, whether a worker can run here, how fast it is.

use super::{CliError, DeviceArgs, child_options, model_cache, user_cache};
use crate::compute::protocol::DeviceInfo;
use crate::device;
use crate::execute::{Executor, Options};
use clap::{Args, ValueEnum};
use espalier_proto::recipe::Dtype;
use std::io::Write as _;
use std::time::Duration;

#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    device: DeviceArgs,
    /// Also measure its speed, GFLOP/s, in this number format: float32, float16 or bfloat16; what was measured is remembered.
    #[arg(long, value_name = "DTYPE", value_parser = dtype)]
    speed: Option<Dtype>,
    /// Width of the model that the speed is for.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    width: u32,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

pub(super) async fn examine(doctor: &Doctor) -> Result<(), CliError> {
    let options = Options {
        child: child_options(&doctor.device, None, Duration::from_secs(600))?,
        digest_cache: None,
        cache: model_cache(None, None),
        save_every: Duration::MAX,
    };
    let mut executor = Executor::new(options).map_err(CliError::Device)?;
    let info = executor.describe().await.map_err(CliError::Device)?;
    let gflops = match doctor.speed {
        None => None,
        Some(dtype) => Some(speed(&mut executor, &info, dtype, doctor.width).await?),
    };
    show(&info, gflops, doctor.output);
    Ok(())
}

/// The speed as remembered for this fingerprint, else measured and remembered.
async fn speed(
    executor: &mut Executor,
    info: &DeviceInfo,
    dtype: Dtype,
    width: u32,
) -> Result<f64, CliError> {
    let name = format!("{}-{}-{width}", info.fingerprint, dtype.as_str());
    let entry = user_cache("speed").map(|folder| folder.join(name));
    let known = entry.as_ref().and_then(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    if let Some(known) = known.filter(|speed: &f64| speed.is_finite() && *speed > 0.0) {
        return Ok(known);
    }
    let gflops = executor.measure(dtype, width).await.map_err(CliError::Device)?;
    if let Some(path) = entry {
        let folder = path.parent().unwrap_or(&path);
        let written =
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, format!("{gflops:.3}\n")));
        // What cannot be remembered is measured again.
        if let Err(error) = written {
            tracing::debug!(%error, path = %path.display(), "the speed could not be remembered");
        }
    }
    Ok(gflops)
}

fn dtype(text: &str) -> Result<Dtype, String> {
    [Dtype::Float32, Dtype::Float16, Dtype::Bfloat16]
        .into_iter()
        .find(|dtype| dtype.as_str() == text)
        .ok_or_else(|| format!("found {text}, expected float32, float16 or bfloat16"))
}

/// What `doctor` prints.
#[derive(serde::Serialize)]
struct About<'a> {
    #[serde(flatten)]
    device: &'a DeviceInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    gflops: Option<f64>,
    /// Version of NVIDIA's driver, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    driver: Option<String>,
    driver_needed: u32,
}

fn show(info: &DeviceInfo, gflops: Option<f64>, output: Output) {
    let (driver, driver_needed) = (device::driver_version(), device::DRIVER_NEEDED);
    let text = match output {
        Output::Json => {
            let about = About { device: info, gflops, driver, driver_needed };
            serde_json::to_string_pretty(&about).expect("plain data is JSON") + "\n"
        }
        Output::Text => {
            let speed = gflops.map_or(String::new(), |gflops| format!("speed        {gflops:.1} GFLOP/s\n"));
            format!(
                "device       {} ({})\nmemory       {:.1} GiB\nthreads      {}\nlibtorch     {}\ncuda         {}\n\
                 driver       {} (CUDA needs {driver_needed} or newer)\nGPUs         {}\nfingerprint  {}\n{speed}",
                info.name,
                info.backend.as_str(),
                info.memory_bytes as f64 / (1u64 << 30) as f64,
                info.threads,
                info.libtorch,
                info.no_cuda.as_deref().unwrap_or("yes"),
                driver.as_deref().unwrap_or("none"),
                info.gpus.len(),
                info.fingerprint
            )
        }
    };
    // A closed pipe means that nobody reads any more.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
