//! Who owns the durable data: what the real stores do, in a few lines.

use lrs_store::Error;

use crate::planted::Plant;

/// The row of `ownership`, and who holds the lock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ownership {
    pub epoch: i64,
    pub sequence: i64,
    pub process: u64,
    /// The process whose session has the lock.
    pub lock: Option<u64>,
}

/// What a process knows of its ownership.
#[derive(Clone, Debug)]
pub struct Claim {
    process: u64,
    epoch: i64,
    /// The lowest and the highest sequence that the row may have.
    sequences: (i64, i64),
    /// Why it is over.
    over: Option<Error>,
}

impl Claim {
    /// Takes the data over.
    ///
    /// # Errors
    /// If another process holds the lock.
    pub fn acquire(row: &mut Ownership, process: u64) -> Result<Self, Error> {
        if let Some(holder) = row.lock {
            return Err(Error::Taken { holder: format!("process {holder}") });
        }
        *row = Ownership { epoch: row.epoch + 1, process, lock: Some(process), ..*row };
        Ok(Self { process, epoch: row.epoch, sequences: (row.sequence, row.sequence), over: None })
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// A commit was cut off on its way.
    pub fn be_uncertain(&mut self) {
        self.sequences.1 = self.sequences.0 + 1;
    }

    /// A commit has landed.
    pub fn advance(&mut self, row: &mut Ownership) {
        row.sequence += 1;
        self.sequences = (row.sequence, row.sequence);
    }

    /// Proves the ownership; takes the lock again if the session was lost.
    pub fn prove(&mut self, row: &mut Ownership, plant: Option<Plant>) -> Result<(), Error> {
        if let Some(over) = &self.over {
            return Err(over.clone());
        }
        if row.lock.is_none() && plant == Some(Plant::KeepMemory) {
            let (process, epoch) = (self.process, row.epoch + 1);
            *row = Ownership { epoch, process, lock: Some(process), ..*row };
            (self.epoch, self.sequences) = (epoch, (row.sequence, row.sequence));
        }
        self.compare(row, plant).inspect_err(|over| self.over = Some(over.clone()))?;
        match row.lock {
            Some(holder) if holder == self.process => Ok(()),
            Some(_) => Err(Error::unavailable("another session holds the lock")),
            None => {
                row.lock = Some(self.process);
                row.epoch += 1;
                self.epoch = row.epoch;
                self.sequences = (row.sequence, row.sequence);
                Ok(())
            }
        }
    }

    fn compare(&self, row: &Ownership, plant: Option<Plant>) -> Result<(), Error> {
        let ((fewest, most), checks_tail) = (self.sequences, plant != Some(Plant::MissLostTail));
        let is_mine = row.process == self.process;
        if checks_tail && (row.epoch < self.epoch || (is_mine && row.sequence < fewest)) {
            let (found_epoch, found) = (row.epoch, row.sequence);
            return Err(Error::LostTail { epoch: self.epoch, believed: fewest, found_epoch, found });
        }
        if !is_mine || row.epoch > self.epoch || (checks_tail && row.sequence > most) {
            let holder = format!("process {}", row.process);
            return Err(Error::Deposed { mine: self.epoch, found: row.epoch, holder });
        }
        Ok(())
    }
}
