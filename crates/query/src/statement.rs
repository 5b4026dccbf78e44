//! From text to one statement that only reads.

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{self, SetExpr};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::QueryError;

/// The longest text that is read as a query.
pub const MAX_QUERY_BYTES: usize = 256 * 1024;
/// Operators and keywords in one query. Each may nest the plan once more, and a
/// plan is walked, compared and freed by recursion: this keeps it off the stack's end.
const MAX_NESTING_TOKENS: usize = 2_000;

/// Parses a query and refuses what does not only read.
pub(crate) fn parse(query: &str) -> Result<Statement, QueryError> {
    if query.len() > MAX_QUERY_BYTES {
        let (length, most) = (query.len(), MAX_QUERY_BYTES);
        return Err(QueryError::Invalid(format!("the query is {length} bytes long: at most {most} are read")));
    }
    limit_nesting(query)?;
    let dialect = GenericDialect {};
    let parser = DFParserBuilder::new(query).with_dialect(&dialect).build();
    let mut statements = match parser.and_then(|mut parser| parser.parse_statements()) {
        Ok(statements) => statements,
        Err(error) => return Err(no_sql(&error, query)),
    };
    match (statements.pop_front(), statements.len()) {
        (None, _) => Err(QueryError::Invalid("the query is empty: send a SELECT".into())),
        (Some(statement), 0) => only_reads(&statement).map(|()| statement),
        (Some(_), more) => {
            Err(QueryError::Refused(format!("the query holds {} statements: send one at a time", more + 1)))
        }
    }
}

/// The part of a statement that names tables and columns.
pub(crate) fn inner_mut(statement: &mut Statement) -> Option<&mut ast::Statement> {
    match statement {
        Statement::Statement(inner) => Some(inner),
        Statement::Explain(explain) => inner_mut(&mut explain.statement),
        _ => None,
    }
}

fn limit_nesting(query: &str) -> Result<(), QueryError> {
    let tokens = Tokenizer::new(&GenericDialect {}, query)
        .tokenize()
        .map_err(|error| QueryError::Invalid(format!("the query is no SQL: {error}")))?;
    let nesting = tokens.iter().filter(|token| match token {
        Token::Word(word) => {
            word.quote_style.is_none() && word.keyword != datafusion::sql::sqlparser::keywords::Keyword::NoKeyword
        }
        Token::Number(..) | Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => false,
        Token::Whitespace(_) | Token::Comma | Token::Period | Token::RParen | Token::RBracket => false,
        _ => true,
    });
    let found = nesting.count();
    if found > MAX_NESTING_TOKENS {
        return Err(QueryError::Invalid(format!(
            "the query has {found} operators and keywords: at most {MAX_NESTING_TOKENS} are read; \
             use IN (...) for long lists of values"
        )));
    }
    Ok(())
}

fn no_sql(error: &datafusion::error::DataFusionError, query: &str) -> QueryError {
    let text = QueryError::planning(error, 0).to_string();
    let first = query.split_whitespace().next().unwrap_or_default().to_uppercase();
    match first.as_str() {
        "SELECT" | "WITH" | "EXPLAIN" | "SHOW" | "DESCRIBE" | "DESC" | "(" | "" => QueryError::Invalid(text),
        _ if REFUSED.contains(&first.as_str()) => refused(&first),
        _ => QueryError::Invalid(text),
    }
}

/// Words that start statements which change something, in dialects that users may know.
const REFUSED: [&str; 24] = [
    "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "CREATE", "DROP", "ALTER", "TRUNCATE", "SET", "RESET", "GRANT",
    "REVOKE", "ATTACH", "DETACH", "INSTALL", "LOAD", "PRAGMA", "VACUUM", "CALL", "EXECUTE", "PREPARE", "UNLOAD", "USE",
];

fn refused(what: &str) -> QueryError {
    QueryError::Refused(format!(
        "{what} is refused, because SQL here only reads: SELECT, WITH, EXPLAIN, SHOW TABLES, SHOW COLUMNS and DESCRIBE \
         are answered; telemetry comes in over OTLP"
    ))
}

fn only_reads(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(inner) => reads(inner),
        Statement::Explain(explain) => match explain.statement.as_ref() {
            Statement::Explain(_) => Err(QueryError::Refused("EXPLAIN of an EXPLAIN is refused: name a SELECT".into())),
            inner => only_reads(inner),
        },
        Statement::CreateExternalTable(_) => Err(refused("CREATE EXTERNAL TABLE")),
        Statement::CopyTo(_) => Err(refused("COPY")),
        Statement::Reset(_) => Err(refused("RESET")),
    }
}

fn reads(statement: &ast::Statement) -> Result<(), QueryError> {
    use ast::Statement as S;
    match statement {
        S::Query(query) => query_reads(query),
        S::ShowTables { .. } | S::ShowColumns { .. } | S::ExplainTable { .. } => Ok(()),
        S::Explain { statement, .. } => reads(statement),
        other => {
            let text = other.to_string();
            let words = if text.starts_with("SHOW") { 2 } else { 1 };
            let verb: Vec<&str> = text.split_whitespace().take(words).collect();
            Err(refused(&verb.join(" ").to_uppercase()))
        }
    }
}

fn query_reads(query: &ast::Query) -> Result<(), QueryError> {
    for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
        query_reads(&cte.query)?;
    }
    if !query.locks.is_empty() {
        return Err(refused("SELECT FOR UPDATE"));
    }
    set_reads(&query.body)
}

fn set_reads(body: &SetExpr) -> Result<(), QueryError> {
    match body {
        SetExpr::Select(select) if select.into.is_some() => Err(refused("SELECT INTO")),
        SetExpr::Select(_) | SetExpr::Values(_) | SetExpr::Table(_) => Ok(()),
        SetExpr::Query(query) => query_reads(query),
        SetExpr::SetOperation { left, right, .. } => set_reads(left).and_then(|()| set_reads(right)),
        SetExpr::Insert(_) => Err(refused("INSERT")),
        SetExpr::Update(_) => Err(refused("UPDATE")),
        SetExpr::Delete(_) => Err(refused("DELETE")),
        SetExpr::Merge(_) => Err(refused("MERGE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_let_through() {
        for query in [
            "SELECT 1",
            "select * from logs;",
            "WITH t AS (SELECT 1 AS n) SELECT n FROM t",
            "EXPLAIN SELECT 1",
            "EXPLAIN ANALYZE VERBOSE SELECT 1",
            "SHOW TABLES",
            "SHOW COLUMNS FROM logs",
            "DESCRIBE logs",
            "(SELECT 1) UNION ALL (SELECT 2)",
            "VALUES (1), (2)",
        ] {
            assert_eq!(parse(query).err(), None, "{query}");
        }
    }

    #[test]
    fn all_else_is_refused() {
        for (query, name) in [
            ("INSERT INTO logs VALUES (1)", "INSERT"),
            ("insert into logs select * from logs", "INSERT"),
            ("COPY logs TO '/tmp/x.csv'", "COPY"),
            ("COPY (SELECT 1) TO '/tmp/x.csv' STORED AS CSV", "COPY"),
            ("CREATE TABLE x AS SELECT 1", "CREATE"),
            ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "CREATE EXTERNAL TABLE"),
            ("CREATE VIEW x AS SELECT 1", "CREATE"),
            ("DROP TABLE logs", "DROP"),
            ("SET datafusion.execution.batch_size = 1", "SET"),
            ("RESET datafusion.execution.batch_size", "RESET"),
            ("DELETE FROM logs", "DELETE"),
            ("UPDATE logs SET body = ''", "UPDATE"),
            ("TRUNCATE TABLE logs", "TRUNCATE"),
            ("EXPLAIN INSERT INTO logs VALUES (1)", "INSERT"),
            ("EXPLAIN COPY logs TO '/tmp/x'", "COPY"),
            ("EXPLAIN ANALYZE DELETE FROM logs", "DELETE"),
            ("SHOW ALL", "SHOW ALL"),
            ("SELECT * INTO t FROM logs", "SELECT INTO"),
            ("PREPARE p AS SELECT 1", "PREPARE"),
            ("BEGIN", "BEGIN"),
        ] {
            match parse(query) {
                Err(QueryError::Refused(text)) => assert!(text.starts_with(name), "{query}: {text}"),
                other => assert!(matches!(other, Err(QueryError::Refused(_))), "{query}: {other:?}"),
            }
        }
        assert!(matches!(parse("SELECT 1; SELECT 2"), Err(QueryError::Refused(_))));
        assert!(matches!(parse(""), Err(QueryError::Invalid(_))));
    }

    #[test]
    fn wrong_sql_has_a_place() {
        let text = parse("SELECT body FRM logs WHERE x").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("Line: 1"), "{text}");
        assert!(parse(&format!("SELECT {}1", "1+".repeat(5000))).is_err());
        assert!(parse(&format!("SELECT {}1{}", "(".repeat(400), ")".repeat(400))).is_err());
    }
}
