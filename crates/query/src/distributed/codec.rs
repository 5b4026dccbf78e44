//! A scan as another querier is asked for it, and back.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{Schema, SchemaRef};
use bonghwa_block::{Column, Comparison, FooterCache, Op, Predicate, Scalar, ScanRequest};
use bonghwa_cluster::Directory;
use bonghwa_model::{Signal, TenantId};
use bonghwa_protocol::v1;
use bytes::Bytes;
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::physical_plan::{
    PhysicalExtensionCodec, PhysicalPlanDecodeContext, PhysicalProtoConverterExtension,
};
use datafusion_proto::protobuf::PhysicalExprNode;
use object_store::ObjectStore;
use prost::Message;

use super::{Told, Visit};
use crate::QueryError;
use crate::deleted::Deleted;
use crate::plan::{PlannedBlock, Source, TablePlan, Unit};
use crate::predicate::TableColumn;
use crate::scan::BlockScanExec;
use crate::view::Tail;

/// The newest [`v1::ScanTask`] that this build reads and the one that it writes.
const VERSION: u32 = 1;

/// Writes scans, and reads them as scans of what this node can reach.
pub(super) struct ScanCodec {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) footers: Arc<FooterCache>,
    pub(super) directory: Arc<dyn Directory>,
}

impl fmt::Debug for ScanCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScanCodec")
    }
}

/// The asker reads by itself what this node does not understand.
fn unreadable(what: impl fmt::Display) -> Told {
    Told(QueryError::Unavailable(format!("a querier of another version sent a scan that cannot be read: {what}")))
}

impl PhysicalExtensionCodec for ScanCodec {
    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        buffer: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        let Some(scan) = node.downcast_ref::<BlockScanExec>() else {
            return internal_err!("{} is no scan of blocks and tails", node.name());
        };
        let request = &scan.plan().request;
        let late = scan.late().iter().map(|filter| {
            let filter = converter.physical_expr_to_proto(filter, self)?;
            Ok(Bytes::from(filter.encode_to_vec()))
        });
        let task = v1::ScanTask {
            version: VERSION,
            tenant: request.tenant.as_str().to_owned(),
            signal: v1::Signal::from(scan.plan().signal).into(),
            columns: request.columns.iter().map(Column::to_proto).collect(),
            names: scan.schema().fields().iter().map(|field| field.name().clone()).collect(),
            predicate: Some(write_predicate(&request.predicate)),
            partitions: scan.partitions().iter().map(|units| write_partition(units)).collect(),
            limit: scan.limit().map(|limit| limit as u64),
            late: late.collect::<Result<_>>()?,
            deletes: scan.plan().deleted.deletes().cloned().collect(),
        };
        buffer.extend(task.encode_to_vec());
        Ok(())
    }

    fn try_decode(
        &self,
        buffer: &[u8],
        _: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let task = v1::ScanTask::decode(buffer).map_err(unreadable)?;
        if task.version > VERSION {
            return Err(unreadable(format!("its version is {}, this build reads up to {VERSION}", task.version)).into());
        }
        let signal = v1::Signal::try_from(task.signal).map_err(unreadable)?;
        let signal = Signal::try_from(signal).map_err(unreadable)?;
        let tenant = TenantId::new(&task.tenant).map_err(unreadable)?;
        // The query is for the tenants that its asker let it in for, and reads no other's rows.
        let visit = context.session_config().get_extension::<Visit>();
        if !visit.is_some_and(|visit| visit.tenants.iter().any(|other| *other == tenant)) {
            return internal_err!("the query sent a scan of tenant {tenant}, whose rows it may not see");
        }
        let columns = task.columns.into_iter().map(|column| Column::from_proto(signal, column));
        let columns: Vec<Column> = columns.collect::<std::result::Result<_, _>>().map_err(unreadable)?;
        let schema = schema(signal, &columns, task.names)?;
        let predicate = read_predicate(signal, task.predicate.unwrap_or_default())?;
        let (store, footers) = (self.store.clone(), self.footers.clone());
        let source = Arc::new(Source { tenant: tenant.clone(), store, footers });
        let partitions = task.partitions.into_iter().map(|partition| {
            partition.units.into_iter().map(|unit| self.read_unit(unit, &source)).collect::<Result<Vec<_>>>()
        });
        let partitions: Vec<Vec<Arc<Unit>>> = partitions.collect::<Result<_>>()?;
        let decoding = PhysicalPlanDecodeContext::new(context, self);
        let late = task.late.into_iter().map(|filter| {
            let filter = PhysicalExprNode::decode(filter).map_err(unreadable)?;
            converter.proto_to_physical_expr(&filter, &schema, &decoding)
        });
        let late = late.collect::<Result<_>>()?;
        let request = Arc::new(ScanRequest { tenant, columns, predicate });
        let units = partitions.iter().flatten().cloned().collect();
        let deleted = Deleted::new(signal, task.deletes.into_iter().map(Arc::new));
        let with_deleted = deleted.request(&request);
        let pruned = Default::default();
        let plan = TablePlan { signal, request, with_deleted, deleted, units, pruned, exact_rows: None };
        let limit = task.limit.and_then(|limit| usize::try_from(limit).ok());
        Ok(Arc::new(BlockScanExec::task(Arc::new(plan), schema, partitions, limit, late)))
    }
}

impl ScanCodec {
    fn read_unit(&self, unit: v1::ScanUnit, source: &Arc<Source>) -> Result<Arc<Unit>> {
        let v1::ScanUnit { min_time, max_time, rows, unit, deleted } = unit;
        let unit = match unit {
            Some(v1::scan_unit::Unit::Block(v1::ScanBlock { path, bytes, deletes_through })) => {
                let block = v1::Block { path, bytes, deletes_through, ..Default::default() };
                let time = (min_time, max_time);
                Unit::Block(Box::new(PlannedBlock::elsewhere(source.clone(), block, rows, time, deleted)))
            }
            Some(v1::scan_unit::Unit::Tail(v1::ScanTail { partition, watermark, through })) => {
                let leader = self.directory.leader_of(&partition).map_err(|error| Told(QueryError::from(error)))?;
                let rows = v1::TenantRows { items: rows, min_time, max_time, ..Default::default() };
                Unit::Tail(Arc::new(Tail { partition, watermark, through, rows, leader }))
            }
            None => return Err(unreadable("it names something to read that is neither block nor tail").into()),
        };
        Ok(Arc::new(unit))
    }
}

/// The columns under the names that the query uses.
fn schema(signal: Signal, columns: &[Column], names: Vec<String>) -> Result<SchemaRef> {
    if columns.len() != names.len() {
        return Err(unreadable(format!("it has {} columns and {} names", columns.len(), names.len())).into());
    }
    let named = columns.iter().zip(names);
    let fields = named.map(|(column, name)| TableColumn { name, column: column.clone(), indexed: false }.field(signal));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

fn write_partition(units: &[Arc<Unit>]) -> v1::ScanPartition {
    let units = units.iter().map(|unit| {
        let (min_time, max_time) = unit.time();
        let of_unit = match &**unit {
            Unit::Block(block) => {
                let (path, bytes) = block.object();
                let deletes_through = block.deletes_through();
                v1::scan_unit::Unit::Block(v1::ScanBlock { path, bytes, deletes_through })
            }
            Unit::Tail(tail) => {
                let (partition, watermark, through) = (tail.partition.clone(), tail.watermark, tail.through);
                v1::scan_unit::Unit::Tail(v1::ScanTail { partition, watermark, through })
            }
        };
        v1::ScanUnit { min_time, max_time, rows: unit.rows(), unit: Some(of_unit), deleted: unit.may_hold_deleted() }
    });
    v1::ScanPartition { units: units.collect() }
}

fn write_predicate(predicate: &Predicate) -> v1::ScanPredicate {
    let Predicate { min_time, max_time, services, metric_names, trace_ids, tokens, comparisons } = predicate;
    let ids = |ids: &Vec<[u8; 16]>| ids.iter().map(|id| Bytes::copy_from_slice(id)).collect();
    v1::ScanPredicate {
        min_time: *min_time,
        max_time: *max_time,
        services: services.clone().map(|names| v1::ScanServices { names }),
        trace_ids: trace_ids.as_ref().map(|trace_ids| v1::ScanTraceIds { ids: ids(trace_ids) }),
        metric_names: metric_names.clone().map(|names| v1::ScanMetricNames { names }),
        tokens: tokens.clone(),
        comparisons: comparisons.iter().map(write_comparison).collect(),
    }
}

fn read_predicate(signal: Signal, predicate: v1::ScanPredicate) -> Result<Predicate> {
    let id = |id: Bytes| <[u8; 16]>::try_from(id.as_ref()).map_err(|_| unreadable("a trace id has not 16 bytes"));
    let ids = |ids: v1::ScanTraceIds| ids.ids.into_iter().map(id).collect::<std::result::Result<Vec<_>, _>>();
    let comparisons = predicate.comparisons.into_iter().map(|comparison| read_comparison(signal, comparison));
    Ok(Predicate {
        min_time: predicate.min_time,
        max_time: predicate.max_time,
        services: predicate.services.map(|services| services.names),
        metric_names: predicate.metric_names.map(|metrics| metrics.names),
        trace_ids: predicate.trace_ids.map(ids).transpose()?,
        tokens: predicate.tokens,
        comparisons: comparisons.collect::<Result<_>>()?,
    })
}

const OPERATORS: [(Op, v1::ScanOperator); 6] = [
    (Op::Eq, v1::ScanOperator::Eq),
    (Op::NotEq, v1::ScanOperator::NotEq),
    (Op::Lt, v1::ScanOperator::Lt),
    (Op::Le, v1::ScanOperator::Le),
    (Op::Gt, v1::ScanOperator::Gt),
    (Op::Ge, v1::ScanOperator::Ge),
];

fn write_comparison(comparison: &Comparison) -> v1::ScanComparison {
    use v1::scan_comparison::Value;
    let operator = OPERATORS.iter().find(|(op, _)| *op == comparison.op);
    v1::ScanComparison {
        column: Some(comparison.column.to_proto()),
        operator: operator.map_or(v1::ScanOperator::Unspecified, |(_, operator)| *operator).into(),
        value: Some(match &comparison.value {
            Scalar::String(text) => Value::Text(text.clone()),
            Scalar::Int64(integer) => Value::Integer(*integer),
            Scalar::Float64(float) => Value::Float(*float),
            Scalar::Boolean(boolean) => Value::Boolean(*boolean),
        }),
    }
}

fn read_comparison(signal: Signal, comparison: v1::ScanComparison) -> Result<Comparison> {
    use v1::scan_comparison::Value;
    let operator = OPERATORS.iter().find(|(_, operator)| *operator == comparison.operator());
    let (op, _) = operator.ok_or_else(|| unreadable("it compares by an unknown operator"))?;
    let column = comparison.column.ok_or_else(|| unreadable("it compares no column"))?;
    let value = match comparison.value.ok_or_else(|| unreadable("it compares with no value"))? {
        Value::Text(text) => Scalar::String(text),
        Value::Integer(integer) => Scalar::Int64(integer),
        Value::Float(float) => Scalar::Float64(float),
        Value::Boolean(boolean) => Scalar::Boolean(boolean),
    };
    Ok(Comparison { column: Column::from_proto(signal, column).map_err(unreadable)?, op: *op, value })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bonghwa_block::{AttributeScope, ValueType};
    use bonghwa_model::TenantSet;
    use bonghwa_protocol::{IngesterClient, RpcError};
    use datafusion::prelude::{SessionConfig, SessionContext};
    use datafusion_proto::bytes::{
        physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
    };
    use object_store::memory::InMemory;

    use super::*;
    use crate::alive::Alive;
    use crate::distributed::visit::Visits;
    use crate::run::Limits;
    use crate::session;

    struct NoLeaders;

    impl Directory for NoLeaders {
        fn ingester(&self, _: u64) -> std::result::Result<Arc<dyn IngesterClient>, RpcError> {
            Err(RpcError::unavailable("there is none"))
        }

        fn leader_of(&self, _: &str) -> std::result::Result<Arc<dyn IngesterClient>, RpcError> {
            self.ingester(0)
        }
    }

    fn codec() -> ScanCodec {
        let (store, footers) = (Arc::new(InMemory::new()), Arc::new(FooterCache::new(1 << 20)));
        ScanCodec { store, footers, directory: Arc::new(NoLeaders) }
    }

    /// A scan of one block of tenant a.
    fn scan(codec: &ScanCodec) -> BlockScanExec {
        let tenant = TenantId::new("a").unwrap();
        let source =
            Arc::new(Source { tenant: tenant.clone(), store: codec.store.clone(), footers: codec.footers.clone() });
        let object = v1::Block { path: "logs/1".into(), bytes: 100, ..Default::default() };
        let block = PlannedBlock::elsewhere(source, object, 7, (1, 2), true);
        let units = vec![Arc::new(Unit::Block(Box::new(block)))];
        let columns = vec![Column::Base("body")];
        let schema = schema(Signal::Logs, &columns, vec!["b".into()]).unwrap();
        let request = Arc::new(ScanRequest { tenant, columns, predicate: Predicate::default() });
        let deleted = Deleted::new(Signal::Logs, [Arc::new(v1::Delete { id: 5, ..Default::default() })]);
        let (with_deleted, pruned) = (deleted.request(&request), Default::default());
        let partitions = vec![units.clone(), Vec::new()];
        let plan = TablePlan { signal: Signal::Logs, request, with_deleted, deleted, units, pruned, exact_rows: None };
        BlockScanExec::task(Arc::new(plan), schema, partitions, Some(3), Vec::new())
    }

    /// What a query of these tenants gets of the scan.
    fn sent(tenants: &str) -> Result<Arc<dyn ExecutionPlan>> {
        let codec = codec();
        let bytes = physical_plan_to_bytes_with_extension_codec(Arc::new(scan(&codec)), &codec)?;
        let limits = Limits::new(&crate::EngineOptions { concurrent: 1, ..Default::default() });
        let visits = Visits::new(&limits);
        let alive = Alive::new(std::time::Duration::from_secs(5), &limits.pool);
        let visit =
            visits.begin(&TenantSet::parse(tenants).unwrap(), &alive, &session::runtime(1 << 20, &alive.memory)?);
        let context = SessionContext::new_with_config(SessionConfig::new().with_extension(visit));
        physical_plan_from_bytes_with_extension_codec(&bytes, &context.task_ctx(), &codec)
    }

    #[test]
    fn scans_come_back() {
        let read = sent("a|b").unwrap();
        let (read, scan) = (read.downcast_ref::<BlockScanExec>().unwrap(), scan(&codec()));
        assert_eq!(format!("{read:?}"), format!("{scan:?}"));
        assert_eq!((read.schema(), read.limit()), (scan.schema(), Some(3)));
        assert_eq!(read.plan().request.tenant, scan.plan().request.tenant);
        assert_eq!(read.plan().request.columns, scan.plan().request.columns);
        assert_eq!(read.plan().deleted.deletes().map(|delete| delete.id).collect::<Vec<_>>(), [5]);
        assert_eq!(read.partitions().iter().map(Vec::len).collect::<Vec<_>>(), [1, 0]);
        let (unit, Unit::Block(block)) = (&read.partitions()[0][0], &*read.partitions()[0][0]) else { panic!() };
        assert_eq!((unit.rows(), unit.time(), unit.may_hold_deleted()), (7, (1, 2), true));
        assert_eq!(block.object(), ("logs/1".into(), 100));
    }

    #[test]
    fn a_query_reads_no_other_tenants_rows() {
        for tenants in ["b", "b|c"] {
            let error = sent(tenants).unwrap_err().to_string();
            assert!(error.contains("may not see"), "{error}");
        }
    }

    #[test]
    fn predicates_come_back() {
        let column = Column::Attribute { scope: AttributeScope::Any, key: "a".into(), value_type: ValueType::Int64 };
        let values = [
            Scalar::String("x".into()),
            Scalar::Int64(i64::MIN),
            Scalar::Float64(-0.5),
            Scalar::Boolean(true),
            Scalar::Int64(7),
            Scalar::String(String::new()),
        ];
        let comparisons =
            OPERATORS.iter().zip(values).map(|((op, _), value)| Comparison { column: column.clone(), op: *op, value });
        for predicate in [
            Predicate::default(),
            Predicate {
                min_time: -5,
                max_time: 7,
                metric_names: Some(vec!["http_requests_total".into()]),
                services: Some(Vec::new()),
                trace_ids: Some(vec![[1; 16], [2; 16]]),
                tokens: vec!["word".into()],
                comparisons: comparisons.collect(),
            },
        ] {
            let written = write_predicate(&predicate).encode_to_vec();
            let read = v1::ScanPredicate::decode(written.as_slice()).unwrap();
            assert_eq!(read_predicate(Signal::Logs, read).unwrap(), predicate);
        }
    }

    #[test]
    fn what_is_not_understood_is_told_of() {
        let unknown = v1::ScanComparison { operator: 99, ..Default::default() };
        assert!(read_comparison(Signal::Logs, unknown).unwrap_err().to_string().contains("unknown operator"));
        let short = v1::ScanTraceIds { ids: vec![Bytes::from_static(b"short")] };
        let predicate = v1::ScanPredicate { trace_ids: Some(short), ..Default::default() };
        assert!(read_predicate(Signal::Logs, predicate).is_err());
    }
}
