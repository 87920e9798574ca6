//! The columns of a table as Arrow's schema, which Parquet files carry for readers that know Arrow: it has the metadata
//! of each column.
//!
//! An IPC message of `Schema.fbs` and `Message.fbs` in <https://github.com/apache/arrow/tree/main/format>, in Base64.
//! Tables are written slot by slot: the numbers below are places in those files.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use flatbuffers::{FlatBufferBuilder, TableFinishedWIPOffset, VOffsetT, WIPOffset};

use crate::column::{Column, Kind};

/// The key in the metadata of a Parquet file.
pub(crate) const KEY: &str = "ARROW:schema";

type Table = WIPOffset<TableFinishedWIPOffset>;

/// `MetadataVersion.V5`.
const VERSION: i16 = 4;
/// `MessageHeader.Schema`.
const SCHEMA: u8 = 1;
/// What an IPC message begins with, before its length.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// The columns as Arrow's schema.
pub(crate) fn encode(columns: &[Column]) -> String {
    let mut fbb = FlatBufferBuilder::new();
    let fields: Vec<Table> = columns.iter().map(|column| field(&mut fbb, column)).collect();
    let fields = fbb.create_vector(&fields);
    let schema = table(&mut fbb, |fbb| fbb.push_slot_always(slot(1), fields));
    let message = table(&mut fbb, |fbb| {
        fbb.push_slot_always(slot(0), VERSION);
        fbb.push_slot_always(slot(1), SCHEMA);
        fbb.push_slot_always(slot(2), schema);
    });
    fbb.finish(message, None);
    let message = fbb.finished_data();
    // A message is padded to a multiple of 8 bytes.
    let length = message.len().next_multiple_of(8);
    let mut bytes = CONTINUATION.to_vec();
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(message);
    bytes.resize(CONTINUATION.len() + size_of::<u32>() + length, 0);
    BASE64_STANDARD.encode(bytes)
}

/// `Field`, with the unit and the meaning in its metadata.
fn field(fbb: &mut FlatBufferBuilder<'_>, column: &Column) -> Table {
    let metadata = [("unit", column.unit), ("description", column.about.as_str())].map(|(key, value)| {
        let (key, value) = (fbb.create_string(key), fbb.create_string(value));
        table(fbb, |fbb| {
            fbb.push_slot_always(slot(0), key);
            fbb.push_slot_always(slot(1), value);
        })
    });
    let metadata = fbb.create_vector(&metadata);
    let name = fbb.create_string(&column.name);
    let (kind, data_type) = data_type(fbb, column.kind);
    let children = fbb.create_vector::<Table>(&[]);
    table(fbb, |fbb| {
        fbb.push_slot_always(slot(0), name);
        fbb.push_slot_always(slot(1), !column.is_required());
        fbb.push_slot_always(slot(2), kind);
        fbb.push_slot_always(slot(3), data_type);
        fbb.push_slot_always(slot(5), children);
        fbb.push_slot_always(slot(6), metadata);
    })
}

/// The number of a type in the union `Type`, and the type.
fn data_type(fbb: &mut FlatBufferBuilder<'_>, kind: Kind) -> (u8, Table) {
    match kind {
        // `Int`: 64 bits, signed.
        Kind::Whole => {
            let whole = table(fbb, |fbb| {
                fbb.push_slot_always(slot(0), 64_i32);
                fbb.push_slot_always(slot(1), true);
            });
            (2, whole)
        }
        // `FloatingPoint`: `Precision.DOUBLE`.
        Kind::Number => (3, table(fbb, |fbb| fbb.push_slot_always(slot(0), 2_i16))),
        // `Utf8`.
        Kind::Text | Kind::Json => (5, table(fbb, |_| ())),
        // `Timestamp`: `TimeUnit.MICROSECOND` and a time zone.
        Kind::Time => {
            let zone = fbb.create_string("UTC");
            let time = table(fbb, |fbb| {
                fbb.push_slot_always(slot(0), 2_i16);
                fbb.push_slot_always(slot(1), zone);
            });
            (10, time)
        }
    }
}

fn table<'a>(fbb: &mut FlatBufferBuilder<'a>, fill: impl FnOnce(&mut FlatBufferBuilder<'a>)) -> Table {
    let start = fbb.start_table();
    fill(fbb);
    fbb.end_table(start)
}

/// The place of a table's field, counted from 0 in its file, in the table of offsets: after two lengths, two bytes
/// each.
fn slot(field: VOffsetT) -> VOffsetT {
    4 + 2 * field
}
