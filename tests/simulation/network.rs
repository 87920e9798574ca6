//! The network between callers and the server: requests and answers take time, get lost, and come twice.

use std::{sync::Arc, time::Duration};

use lrs_engine::{Engine, Error};

use crate::{process::Address, world::World};

/// A connection to the server.
#[derive(Clone)]
pub struct Network {
    pub world: Arc<World>,
    pub address: Arc<Address>,
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
    /// Calls the server. A request that comes twice is carried out twice.
    pub async fn call<T>(&self, request: impl AsyncFn(&Engine) -> Result<T, Error>) -> Result<T, Failure> {
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

    async fn once<T>(&self, request: &impl AsyncFn(&Engine) -> Result<T, Error>) -> Result<Result<T, Error>, Failure> {
        let (engine, process) = self.address.server().map_err(|_| Failure::Lost)?;
        tokio::select! {
            biased;
            () = process.dead() => Err(Failure::Lost),
            answer = request(&engine) => Ok(answer),
        }
    }
}
