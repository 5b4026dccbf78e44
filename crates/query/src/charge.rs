//! Memory that the results of functions take, counted where that of operators is.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayData, make_array};
use arrow::buffer::Buffer;
use bytes::Bytes;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::common::{Result, exec_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::logical_expr::ColumnarValue;

/// What the functions of constants of one query may make, all together: plans keep it.
const MOST_CONSTANT: usize = 32 * 1024 * 1024;

/// The memory of one query, in reach of its functions.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pool: Arc<dyn MemoryPool>,
    constant: Arc<AtomicUsize>,
}

impl Charge {
    /// Charges this pool.
    pub(crate) fn new(pool: Arc<dyn MemoryPool>) -> Self {
        Charge { pool, constant: Arc::default() }
    }

    /// Counts what a function is about to make of constants.
    pub(crate) fn constant(&self, function: &str, bytes: usize) -> Result<()> {
        let total = self.constant.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if total > MOST_CONSTANT {
            return exec_err!(
                "{function} and other functions make more than {MOST_CONSTANT} bytes of constants: \
                 one query may make so many"
            );
        }
        Ok(())
    }

    /// The same value, whose memory is counted until it is let go of.
    pub(crate) fn hold(&self, function: &str, value: ColumnarValue) -> Result<ColumnarValue> {
        let ColumnarValue::Array(array) = value else { return Ok(value) };
        let reservation = MemoryConsumer::new(function).register(&self.pool);
        reservation.try_grow(array.get_array_memory_size())?;
        Ok(ColumnarValue::Array(make_array(held(array.to_data(), &Arc::new(reservation))?)))
    }
}

fn held(data: ArrayData, reservation: &Arc<MemoryReservation>) -> Result<ArrayData> {
    let buffer = |buffer: &Buffer| {
        let held = Held { buffer: buffer.clone(), _reservation: reservation.clone() };
        Buffer::from(Bytes::from_owner(held))
    };
    let buffers = data.buffers().iter().map(buffer).collect();
    let children = data.child_data().iter().map(|child| held(child.clone(), reservation));
    let children = children.collect::<Result<_>>()?;
    Ok(data.into_builder().buffers(buffers).child_data(children).build()?)
}

/// A buffer that gives its memory back to the query's count when it is dropped.
struct Held {
    buffer: Buffer,
    _reservation: Arc<MemoryReservation>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl ConfigExtension for Charge {
    const PREFIX: &'static str = "bonghwa";
}

// How functions are told of their query. There is nothing to set.
impl ExtensionOptions for Charge {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _: &str) -> Result<()> {
        exec_err!("bonghwa.{key} cannot be set")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
