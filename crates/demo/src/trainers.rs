//! The trainers' processes, one a job.

use std::{path::PathBuf, process::Stdio};

use futures::future::try_join_all;
use tokio::process::{Child, Command};

use super::{error::Error, experiment::Run, launcher::Launcher, logs};

/// All trainers. Dropping them kills those that run.
pub struct Trainers(Vec<TrainerProcess>);

struct TrainerProcess {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Trainers {
    /// Starts a trainer for each run.
    pub fn start(endpoint: &str, runs: &[Run], launcher: &Launcher) -> Result<Self, Error> {
        runs.iter().map(|run| TrainerProcess::start(endpoint, run, launcher)).collect::<Result<_, _>>().map(Self)
    }

    /// Waits until all have done their work, or the first has failed.
    pub async fn finished(&mut self) -> Result<(), Error> {
        try_join_all(self.0.iter_mut().map(TrainerProcess::finished)).await?;
        Ok(())
    }

    /// The remarks of the trainers; none if all went as planned.
    pub fn remarks(&self) -> Vec<String> {
        let said = |trainer: &TrainerProcess| (trainer.name.clone(), logs::tail(&trainer.log));
        self.0.iter().map(said).filter(|(_, log)| !log.is_empty()).map(|(name, log)| format!("{name}: {log}")).collect()
    }
}

impl TrainerProcess {
    fn start(endpoint: &str, run: &Run, launcher: &Launcher) -> Result<Self, Error> {
        let name = format!("the trainer of {}", run.job_id);
        let log = launcher.log(&run.job_id);
        let (stdout, stderr) = logs::outputs_to(&log)?;
        let child = Command::new(&launcher.program)
            .args(["demo", "--server", endpoint, "--trainer", &run.job(), "--seed", &run.seed.to_string()])
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            // A group of its own: Ctrl-C is for the demo, and a trainer that it ends has not failed.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Process { what: name.clone(), source })?;
        Ok(Self { name, child, log })
    }

    async fn finished(&mut self) -> Result<(), Error> {
        match self.child.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Error::Ended { what: self.name.clone(), status, log: logs::tail(&self.log) }),
            Err(source) => Err(Error::Process { what: self.name.clone(), source }),
        }
    }
}
