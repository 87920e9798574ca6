//! The network between callers and the server: requests and answers take time, get lost, and come twice.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use lrs_engine::{Engine, Error};

use crate::{
    process::{Address, Process},
    world::World,
};

/// How long a caller waits for a server that does not answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A caller's connection to the servers: to one of them, until it fails.
#[derive(Clone)]
pub struct Network {
    pub world: Arc<World>,
    pub address: Arc<Address>,
    /// Which server is called.
    pub seat: Rc<Cell<usize>>,
}

/// The reason why a call has no answer.
#[derive(Debug)]
pub enum Failure {
    /// The request or its answer was lost, so the caller does not know whether the call was carried out.
    Lost,
    /// The server refused.
    Refused(Error),
}

impl Network {
    /// The connection of another caller.
    pub fn another(&self) -> Self {
        let seat = self.world.below(self.address.seats() as u64);
        Self { seat: Rc::new(Cell::new(usize::try_from(seat).unwrap())), ..self.clone() }
    }

    /// Calls the server. A request that comes twice is carried out twice.
    pub async fn call<T>(&self, request: impl AsyncFn(&Engine) -> Result<T, Error>) -> Result<T, Failure> {
        self.call_process(async |engine, _| request(engine).await).await
    }

    /// The same, for a request that looks at the process that answers it.
    pub async fn call_process<T>(
        &self,
        request: impl AsyncFn(&Engine, &Process) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let answer = self.try_call(request).await;
        let fails = match &answer {
            Err(Failure::Refused(Error::Deposed | Error::ShuttingDown)) => true,
            Err(Failure::Lost | Failure::Refused(Error::StoreUnavailable(_))) => self.world.below(3) == 0,
            _ => false,
        };
        if fails {
            self.address.move_on(&self.seat);
        }
        answer
    }

    async fn try_call<T>(&self, request: impl AsyncFn(&Engine, &Process) -> Result<T, Error>) -> Result<T, Failure> {
        let world = &self.world;
        world.pause().await;
        if world.chance(world.profile.lost) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return Err(Failure::Lost);
        }
        if world.chance(world.profile.duplicated) {
            self.once(&request).await?.ok();
            world.pause().await;
        }
        let answer = self.once(&request).await?;
        if world.chance(world.profile.lost) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return Err(Failure::Lost);
        }
        world.pause().await;
        answer.map_err(Failure::Refused)
    }

    async fn once<T>(
        &self,
        request: &impl AsyncFn(&Engine, &Process) -> Result<T, Error>,
    ) -> Result<Result<T, Error>, Failure> {
        let (engine, process) = self.address.server(&self.seat).map_err(|_| Failure::Lost)?;
        reach(&process).await?;
        let answer = tokio::select! {
            biased;
            () = process.dead() => return Err(Failure::Lost),
            answer = request(&engine, &process) => answer,
        };
        // An answer that was made before a process stood still leaves it after.
        reach(&process).await?;
        Ok(answer)
    }
}

/// Waits for a process that stands still.
async fn reach(process: &Process) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = process.dead() => Err(Failure::Lost),
        () = process.thawed() => Ok(()),
        () = tokio::time::sleep(PATIENCE) => Err(Failure::Lost),
    }
}
