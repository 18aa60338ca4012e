//! The command line: one file a command. Here are only the registry and what all commands share; nothing else prints.

mod argv;
pub mod bars;
pub mod catalog;
pub mod coordinator;
pub mod dataset;
pub mod doctor;
pub mod du;
pub mod eval;
pub mod export;
pub mod failures;
pub mod folders;
pub mod gc;
pub mod identity;
pub mod local_files;
pub mod logs;
pub mod manual;
pub mod one;
pub mod plan;
pub mod prepare;
pub mod print;
pub mod prune;
pub mod prune_log;
pub mod prune_tasks;
pub mod remote;
pub mod repair;
pub mod report;
pub mod rm;
pub mod run;
pub mod schema;
pub mod submit;
pub mod sweep_args;
pub mod sweeps;
pub mod work;

use crate::exit::{Exit, Failure};
use crate::telemetry::Logs;
use clap::{Parser, Subcommand};
use espalier_proto::messages::Action;
use std::path::{Path, PathBuf};

pub use crate::exit::Output;
pub use argv::parse;

/// How much of a language model can be pruned away before it stops reasoning?
///
/// A sweep file names models, pruning recipes and tasks; Espalier prunes, evaluates and reports.
#[derive(Debug, Parser)]
#[command(name = "espalier", version, propagate_version = true, max_term_width = 110)]
pub struct Cli {
    /// How results are printed
    #[arg(long, global = true, default_value = "text", value_name = "FORM")]
    pub output: Output,
    /// Logging.
    #[command(flatten)]
    pub logs: Logs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// `--bucket`, of the commands that read or write one.
#[derive(Clone, Debug, clap::Args)]
pub struct BucketArg {
    /// Where results are kept: a folder or s3://bucket/prefix
    #[arg(long, env = "ESPALIER_BUCKET", default_value = HERE, value_name = "URL", value_parser = url)]
    pub bucket: String,
}

/// `--gpu-hour-price`, of the commands that tell what something costs.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct PriceArg {
    /// What an hour of a device costs, in whatever currency: costs then speak money
    #[arg(long, env = "ESPALIER_GPU_HOUR_PRICE", value_name = "PRICE", value_parser = price)]
    pub gpu_hour_price: Option<f64>,
}

fn price(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|price: &f64| price.is_finite() && *price >= 0.0);
    found.ok_or_else(|| format!("found {text}, expected a number such as 2.49"))
}

const HERE: &str = "./espalier-out";

impl BucketArg {
    /// Somebody said which.
    pub fn is_named(&self) -> bool {
        self.bucket != HERE
    }
}

/// A variable with nothing in it says nothing: `ESPALIER_BUCKET=`. On the command line it is refused before ([`parse`]).
fn url(text: &str) -> Result<String, std::convert::Infallible> {
    Ok(if text.is_empty() { HERE.to_owned() } else { text.to_owned() })
}

/// Every command.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "each command's own struct says what it does")]
pub enum Command {
    Run(run::Run),
    Plan(plan::Plan),
    Prune(prune::Prune),
    Eval(eval::Eval),
    Report(report::Report),
    Export(export::Export),
    Du(du::Du),
    Rm(rm::Rm),
    Gc(gc::Gc),
    Repair(repair::Repair),
    Schema(schema::Schema),
    Catalog(catalog::Catalog),
    Doctor(doctor::Doctor),
    Coordinator(coordinator::Coordinator),
    Identity(identity::IdentityCommand),
    Submit(submit::Submit),
    List(sweeps::List),
    Status(sweeps::Status),
    Watch(sweeps::Watch),
    Logs(logs::Logs),
    Explain(sweeps::Explain),
    Cancel(sweeps::Cancel),
    Pause(sweeps::Pause),
    Resume(sweeps::Resume),
    Retry(sweeps::Retry),
    Drain(sweeps::Drain),
    Completions(manual::Completions),
    Man(manual::Man),
}

impl Command {
    /// Folders of its bucket that are not there yet.
    fn absent_folders(&self) -> Vec<PathBuf> {
        let bucket = match self {
            Self::Run(command) => &command.bucket,
            Self::Plan(command) => &command.bucket,
            Self::Prune(command) => &command.bucket,
            Self::Eval(command) => &command.bucket,
            Self::Report(command) => &command.bucket,
            Self::Export(command) => &command.bucket,
            Self::Coordinator(command) => &command.bucket,
            Self::Du(command) => &command.bucket,
            Self::Rm(command) => &command.bucket,
            Self::Gc(command) => &command.bucket,
            Self::Repair(command) => &command.bucket,
            Self::Doctor(command) => &command.bucket,
            _ => return Vec::new(),
        };
        if bucket.bucket.contains("://") {
            return Vec::new();
        }
        let bucket = Path::new(&bucket.bucket);
        match self {
            Self::Doctor(_) => folders::absent(&bucket.join(doctor::PROBES)),
            _ => folders::absent(bucket),
        }
    }
}

/// Carries out the command. A bucket that was made for it and holds nothing in the end is removed again.
pub async fn run(cli: Cli) -> Result<Exit, Failure> {
    let absent = cli.command.absent_folders();
    let result = carry_out(cli).await;
    folders::remove_empty(&absent);
    result.and_then(|exit| print::written().map(|()| exit))
}

async fn carry_out(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Run(command) => run::run(&command, cli.output).await,
        Command::Plan(command) => plan::run(&command, cli.output).await,
        Command::Prune(command) => prune::run(&command, cli.output).await,
        Command::Eval(command) => eval::run(&command, cli.output).await,
        Command::Export(command) => export::run(&command, cli.output).await,
        Command::Du(command) => du::run(&command, cli.output).await,
        Command::Rm(command) => rm::run(&command, cli.output).await,
        Command::Gc(command) => gc::run(&command, cli.output).await,
        Command::Repair(command) => repair::run(&command, cli.output).await,
        Command::Schema(command) => schema::run(&command),
        Command::Doctor(command) => doctor::run(&command, cli.output).await,
        Command::Catalog(command) => catalog::run(&command, cli.output),
        Command::Report(command) => report::run(&command, cli.output).await,
        Command::Coordinator(command) => coordinator::run(&command, cli.output).await,
        Command::Identity(command) => identity::run(&command, cli.output),
        Command::Submit(command) => submit::run(&command, cli.output).await,
        Command::List(command) => sweeps::list(&command, cli.output).await,
        Command::Status(command) => sweeps::status(&command, cli.output).await,
        Command::Watch(command) => sweeps::watch(&command, cli.output).await,
        Command::Logs(command) => logs::run(&command, cli.output).await,
        Command::Explain(command) => sweeps::explain(&command, cli.output).await,
        Command::Cancel(c) => sweeps::steer(&c.named, Action::Cancel, &c.only, cli.output).await,
        Command::Pause(c) => sweeps::steer(&c.named, Action::Pause, &[], cli.output).await,
        Command::Resume(c) => sweeps::steer(&c.named, Action::Resume, &[], cli.output).await,
        Command::Retry(c) => sweeps::steer(&c.named, Action::Retry, &c.only, cli.output).await,
        Command::Drain(command) => sweeps::drain(&command, cli.output).await,
        Command::Completions(command) => manual::completions(&command),
        Command::Man(command) => manual::man(&command),
    }
}
