//! Statistics on an NVIDIA GPU: the kernels of `kernels/`, through the driver alone.
//!
//! The driver's library is looked up at run time, so the same program runs with and without it. The kernels are PTX,
//! compiled ahead of time; the driver compiles them for its card. Uploads have a stream of their own and two buffers
//! that take turns, so that one batch is uploaded while the batch before is computed.

use std::sync::Arc;

use cudarc::{
    driver::{
        CudaContext, CudaEvent, CudaFunction, CudaSlice, CudaStream, CudaView, DriverError, LaunchConfig,
        PinnedHostSlice, PushKernelArg as _, sys::CUevent_flags,
    },
    nvrtc::Ptx,
};

use super::{
    Wanted,
    device::{Absent, Device, Failure},
    record::Layout,
    rings::Ring,
};

/// Made by `make kernels`; a test fails when it is stale.
const PTX: &str = include_str!("kernels/statistics.ptx");
/// Words in one upload: 32 MiB.
const PIECE: usize = 4 << 20;
/// The most values in the pool, 2 GiB, if the device has twice that free; else the pool takes half of the free memory.
const MOST_ROOM: u64 = 1 << 28;

const LINEAR_THREADS: u32 = 32;
const OTHER_THREADS: u32 = 128;
const WORDS_A_RING: usize = 3;

/// An open device.
pub struct Cuda {
    name: String,
    kernels: Kernels,
    /// The stream of the kernels.
    compute: Arc<CudaStream>,
    /// The stream of the uploads.
    upload: Arc<CudaStream>,
    lanes: [Lane; 2],
    /// The lane whose turn it is.
    turn: usize,
    room: u64,
    /// Allocated at the first write.
    pool: Option<CudaSlice<u64>>,
}

struct Kernels {
    linear: CudaFunction,
    order: CudaFunction,
    mann_kendall: CudaFunction,
    theil_sen: CudaFunction,
    append: CudaFunction,
}

/// The buffers of one batch under way: words to the device, and rows back.
#[derive(Default)]
struct Lane {
    input: Option<PinnedHostSlice<u64>>,
    staged: Option<CudaSlice<u64>>,
    rows: Option<CudaSlice<u64>>,
    output: Option<PinnedHostSlice<u64>>,
    /// Reached when the upload from `input` is complete.
    uploaded: Option<CudaEvent>,
    /// Reached when this many rows' words have arrived in `output`.
    computed: Option<(CudaEvent, usize)>,
}

impl Cuda {
    /// Opens device `ordinal`, counted from 0.
    ///
    /// # Errors
    /// If the device does not exist or cannot run the kernels.
    pub fn open(ordinal: usize) -> Result<Self, Absent> {
        // cudarc panics where the library is missing.
        #[expect(unsafe_code, reason = "loading a library runs its initialisers")]
        // SAFETY: the library is the driver's, found by its well-known names, and its initialisers have no
        // preconditions.
        let is_present = unsafe { cudarc::driver::sys::is_culib_present() };
        if !is_present {
            return Err(Absent::NoDriver);
        }
        let said = |call| move |error: DriverError| Absent::Unusable(failure(call, error));
        cudarc::driver::result::init().map_err(said("initialise"))?;
        let count = usize::try_from(CudaContext::device_count().map_err(said("count devices"))?).unwrap_or(0);
        if ordinal >= count {
            return Err(Absent::NoDevice { ordinal, count });
        }
        let context = CudaContext::new(ordinal).map_err(said("open the device"))?;
        let card = context.name().map_err(said("name the device"))?;
        let module = context.load_module(Ptx::from_src(PTX)).map_err(said("load the kernels"))?;
        let kernel = |name: &'static str| module.load_function(name).map_err(said(name));
        let kernels = Kernels {
            linear: kernel("linear")?,
            order: kernel("order")?,
            mann_kendall: kernel("mann_kendall")?,
            theil_sen: kernel("theil_sen")?,
            append: kernel("append")?,
        };
        let (free, _) = context.mem_get_info().map_err(said("ask for free memory"))?;
        Ok(Self {
            name: format!("cuda:{ordinal} ({card})"),
            kernels,
            compute: context.new_stream().map_err(said("open a stream"))?,
            upload: context.new_stream().map_err(said("open a stream"))?,
            lanes: Default::default(),
            turn: 0,
            room: (free as u64 / 16).min(MOST_ROOM),
            pool: None,
        })
    }

    /// The throughput of a copy within the device in bytes a second, read and written together; other throughputs are
    /// compared with it.
    ///
    /// # Errors
    /// If the device fails.
    pub fn copy_bandwidth(&mut self, bytes: usize) -> Result<f64, Failure> {
        const ROUNDS: u32 = 10;
        let said = |error| failure("measure a copy", error);
        let from = self.compute.alloc_zeros::<u64>(bytes / 8).map_err(said)?;
        let mut to = self.compute.alloc_zeros::<u64>(bytes / 8).map_err(said)?;
        self.compute.memcpy_dtod(&from, &mut to).map_err(said)?;
        let begun = self.compute.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(said)?;
        for _ in 0..ROUNDS {
            self.compute.memcpy_dtod(&from, &mut to).map_err(said)?;
        }
        let ended = self.compute.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(said)?;
        let seconds = f64::from(begun.elapsed_ms(&ended).map_err(said)?) / 1e3;
        Ok(2.0 * super::number(bytes) * f64::from(ROUNDS) / seconds)
    }

    /// Seconds that the kernels alone take over windows in the pool: the mean of `rounds` after a first round.
    ///
    /// # Errors
    /// If the device fails.
    pub fn kernel_seconds(&mut self, rings: &[Ring], wanted: Wanted, rounds: u16) -> Result<f64, Failure> {
        self.compute(rings, wanted, &mut Vec::new())?;
        let Self { kernels, compute, pool: Some(pool), .. } = self else { return Ok(0.0) };
        let said = |error| failure("measure kernels", error);
        let layout = Layout::new(wanted);
        let words: Vec<u64> = rings.iter().flat_map(|ring| ring.words()).collect();
        let rings_there = compute.clone_htod(&words).map_err(said)?;
        let mut rows = compute.alloc_zeros::<u64>(rings.len() * layout.stride).map_err(said)?;
        let begun = compute.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(said)?;
        for _ in 0..rounds {
            launch_all(kernels, compute, &pool.as_view(), &rings_there.as_view(), &mut rows, rings.len(), layout)
                .map_err(said)?;
        }
        let ended = compute.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(said)?;
        Ok(f64::from(begun.elapsed_ms(&ended).map_err(said)?) / 1e3 / f64::from(rounds))
    }

    /// The lane whose turn it is.
    fn next_turn(&mut self) -> usize {
        self.turn = 1 - self.turn;
        self.turn
    }

    fn append(&mut self, writes: &[(u64, f64)]) -> Result<(), DriverError> {
        let turn = self.next_turn();
        let Self { kernels, compute, upload, lanes, pool: Some(pool), .. } = self else { return Ok(()) };
        let n = writes.len();
        let words = writes.iter().map(|(_, value)| value.to_bits()).chain(writes.iter().map(|&(place, _)| place));
        let staged = lanes[turn].send(upload, 2 * n, words)?;
        let (values, places, count) = (staged.slice(..n), staged.slice(n..2 * n), count(n));
        let mut launch = compute.launch_builder(&kernels.append);
        launch.arg(pool).arg(&values).arg(&places).arg(&count);
        #[expect(unsafe_code, reason = "a kernel is called")]
        // SAFETY: the arguments are those of `append` in kernels/rings.h, `count` of each; `write` has checked that the
        // places lie in the pool.
        unsafe { launch.launch(each(count)) }?;
        Ok(())
    }

    /// Starts to compute windows in the pool, or in `values` if given. Appends the rows of an earlier batch to `found`
    /// if they are there.
    fn begin(
        &mut self,
        values: Option<&[f64]>,
        rings: &[Ring],
        wanted: Wanted,
        found: &mut Vec<u64>,
    ) -> Result<(), DriverError> {
        let turn = self.next_turn();
        self.lanes[turn].collect(found)?;
        let Self { kernels, compute, upload, lanes, pool, .. } = self;
        let lane = &mut lanes[turn];
        let brought = values.map_or(0, <[f64]>::len);
        let words = rings.iter().flat_map(|ring| ring.words());
        let words = values.unwrap_or_default().iter().map(|value| value.to_bits()).chain(words);
        let total = brought + rings.len() * WORDS_A_RING;
        lane.send(upload, total, words)?;
        let layout = Layout::new(wanted);
        let count = rings.len() * layout.stride;
        let rows = room_for(&mut lane.rows, count, |room| compute.alloc_zeros(room))?;
        let Some(staged) = &lane.staged else { return Ok(()) };
        let there = staged.slice(brought..total);
        let pool = match (values, pool) {
            (None, Some(pool)) => pool.as_view(),
            _ => staged.slice(..brought),
        };
        launch_all(kernels, compute, &pool, &there, rows, rings.len(), layout)?;
        let output = room_for(&mut lane.output, count, |room| pinned(compute, room, 0))?;
        compute.memcpy_dtoh(&rows.slice(..count), &mut output.as_mut_slice()?[..count])?;
        lane.computed = Some((compute.record_event(None)?, count));
        Ok(())
    }

    /// Waits for the batches under way, the older one first.
    fn finish(&mut self, found: &mut Vec<u64>) -> Result<(), DriverError> {
        for _ in 0..2 {
            let turn = self.next_turn();
            self.lanes[turn].collect(found)?;
        }
        Ok(())
    }
}

impl Drop for Cuda {
    /// Frees pinned memory only when no transfer uses it. A lost device has nothing under way.
    fn drop(&mut self) {
        let _ = (self.upload.synchronize(), self.compute.synchronize());
    }
}

impl Device for Cuda {
    fn name(&self) -> &str {
        &self.name
    }

    fn room(&self) -> u64 {
        self.room
    }

    fn write(&mut self, writes: &[(u64, f64)]) -> Result<(), Failure> {
        let said = |error| failure("write", error);
        if let Some((place, _)) = writes.iter().find(|(place, _)| *place >= self.room) {
            return Err(Failure { call: "write", problem: format!("place {place} lies outside of the pool") });
        }
        if self.pool.is_none() {
            let room = usize::try_from(self.room).unwrap_or(0);
            self.pool = Some(self.compute.alloc_zeros(room).map_err(|error| failure("allocate the pool", error))?);
        }
        for piece in writes.chunks(PIECE / 2) {
            self.append(piece).map_err(said)?;
        }
        Ok(())
    }

    fn compute(&mut self, rings: &[Ring], wanted: Wanted, rows: &mut Vec<u64>) -> Result<(), Failure> {
        let said = |error| failure("compute", error);
        rows.clear();
        let room = if self.pool.is_some() { self.room } else { 0 };
        check(rings, room)?;
        let stride = Layout::new(wanted).stride;
        for piece in rings.chunks(PIECE / stride.max(WORDS_A_RING)) {
            self.begin(None, piece, wanted, rows).map_err(said)?;
        }
        self.finish(rows).map_err(said)
    }

    fn compute_values(
        &mut self,
        values: &[f64],
        rings: &[Ring],
        wanted: Wanted,
        rows: &mut Vec<u64>,
    ) -> Result<(), Failure> {
        let said = |error| failure("compute values", error);
        rows.clear();
        check(rings, values.len() as u64)?;
        let mut rest = rings;
        while let Some(first) = rest.first() {
            // Windows lie one after the other, so a piece of the windows is a piece of the values.
            let end = |ring: &Ring| ring.base + u64::from(ring.capacity);
            let fits = |ring: &&Ring| ring.base >= first.base && end(ring) - first.base <= PIECE as u64;
            let taken = rest.iter().take(PIECE / 64).take_while(fits).count().max(1);
            let (piece, left) = rest.split_at(taken);
            let last = piece.iter().map(end).max().unwrap_or(first.base);
            let rebased: Vec<Ring> = piece.iter().map(|ring| Ring { base: ring.base - first.base, ..*ring }).collect();
            let range = index(first.base)..index(last);
            self.begin(Some(&values[range]), &rebased, wanted, rows).map_err(said)?;
            rest = left;
        }
        self.finish(rows).map_err(said)
    }
}

impl Lane {
    /// Starts the upload of words to the device.
    fn send(
        &mut self,
        upload: &Arc<CudaStream>,
        count: usize,
        words: impl Iterator<Item = u64>,
    ) -> Result<&CudaSlice<u64>, DriverError> {
        if let Some(uploaded) = self.uploaded.take() {
            uploaded.synchronize()?;
        }
        let input = room_for(&mut self.input, count, |room| {
            pinned(upload, room, cudarc::driver::sys::CU_MEMHOSTALLOC_WRITECOMBINED)
        })?;
        let staged = room_for(&mut self.staged, count, |room| upload.alloc_zeros(room))?;
        let input = input.as_mut_slice()?;
        for (slot, word) in input.iter_mut().zip(words) {
            *slot = word;
        }
        if count > 0 {
            upload.memcpy_htod(&input[..count], &mut staged.slice_mut(..count))?;
        }
        // `input` is written again only after this event.
        self.uploaded = Some(upload.record_event(None)?);
        Ok(staged)
    }

    /// Waits for the rows under way, if any.
    fn collect(&mut self, found: &mut Vec<u64>) -> Result<(), DriverError> {
        if let (Some((computed, count)), Some(output)) = (self.computed.take(), &self.output) {
            computed.synchronize()?;
            found.extend_from_slice(&output.as_slice()?[..count]);
        }
        Ok(())
    }
}

/// Starts the wanted kernels, one block a window.
fn launch_all(
    kernels: &Kernels,
    stream: &Arc<CudaStream>,
    pool: &CudaView<'_, u64>,
    rings: &CudaView<'_, u64>,
    rows: &mut CudaSlice<u64>,
    windows: usize,
    layout: Layout,
) -> Result<(), DriverError> {
    let stride = count(layout.stride);
    let all = [
        (&kernels.linear, layout.linear, LINEAR_THREADS),
        (&kernels.order, layout.order, OTHER_THREADS),
        (&kernels.mann_kendall, layout.mann_kendall, OTHER_THREADS),
        (&kernels.theil_sen, layout.theil_sen, OTHER_THREADS),
    ];
    for (kernel, offset, threads) in all {
        let Some(offset) = offset.map(count) else { continue };
        let config = LaunchConfig { grid_dim: (count(windows), 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: 0 };
        let mut launch = stream.launch_builder(kernel);
        launch.arg(pool).arg(rings).arg(&mut *rows).arg(&stride).arg(&offset);
        #[expect(unsafe_code, reason = "a kernel is called")]
        // SAFETY: all four kernels take these arguments. `rings` are `struct Ring` of kernels/window.h, one a block;
        // `check` has made sure that each lies within the pool and holds at most MAX_WINDOW values. There are rows of
        // `stride` words for all of them, and `offset` leaves room in a row for the kernel's words. A block has the
        // number of threads that its kernel is written for.
        unsafe { launch.launch(config) }?;
    }
    Ok(())
}

/// Checks that each ring is valid and lies within `room` values.
fn check(rings: &[Ring], room: u64) -> Result<(), Failure> {
    let is_sound = |ring: &Ring| {
        ring.length <= ring.capacity
            && ring.length as usize <= super::MAX_WINDOW
            && (ring.head < ring.capacity || ring.length == 0)
            && ring.base.checked_add(u64::from(ring.capacity)).is_some_and(|end| end <= room)
    };
    match rings.iter().find(|ring| !is_sound(ring)) {
        None => Ok(()),
        Some(ring) => Err(Failure { call: "compute", problem: format!("{ring:?} is no ring within {room} values") }),
    }
}

/// Memory of at least `count` words: the present memory, or new memory of twice the size.
fn room_for<M: Words>(
    held: &mut Option<M>,
    count: usize,
    allocate: impl FnOnce(usize) -> Result<M, DriverError>,
) -> Result<&mut M, DriverError> {
    // Free memory that is too small before allocating more.
    let memory = match held.take().filter(|held| held.words() >= count) {
        Some(memory) => memory,
        None => allocate(count.max(1 << 10).next_power_of_two())?,
    };
    Ok(held.insert(memory))
}

trait Words {
    fn words(&self) -> usize;
}

impl Words for CudaSlice<u64> {
    fn words(&self) -> usize {
        self.len()
    }
}

impl Words for PinnedHostSlice<u64> {
    fn words(&self) -> usize {
        self.len()
    }
}

/// Pinned memory of the host, which copies read and write without the host's processor.
fn pinned(stream: &Arc<CudaStream>, words: usize, flags: u32) -> Result<PinnedHostSlice<u64>, DriverError> {
    #[expect(unsafe_code, reason = "the memory is not set")]
    // SAFETY: it is set in the next line, and any bits are a u64.
    let mut memory = unsafe { stream.context().alloc_pinned_with_flags::<u64>(words, flags) }?;
    memory.as_mut_slice()?.fill(0);
    Ok(memory)
}

/// A launch with one thread an item.
fn each(count: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (count.div_ceil(OTHER_THREADS), 1, 1),
        block_dim: (OTHER_THREADS, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// A count in a batch: at most a piece.
#[expect(clippy::cast_possible_truncation, reason = "at most a piece")]
fn count(count: usize) -> u32 {
    count as u32
}

/// An index into a slice; the caller has checked that it lies within.
#[expect(clippy::cast_possible_truncation, reason = "it was checked that it lies within a slice")]
fn index(place: u64) -> usize {
    place as usize
}

fn failure(call: &'static str, error: DriverError) -> Failure {
    let problem = match error.error_string() {
        Ok(said) => format!("{} ({:?})", said.to_string_lossy(), error.0),
        Err(_) => format!("{:?}", error.0),
    };
    Failure { call, problem }
}
