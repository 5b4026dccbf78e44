//! Which tables and attributes a statement speaks of.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bonghwa_block::AttributeScope;
use bonghwa_model::Signal;
use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, Expr, Ident, ObjectName, Query, Subscript, TableFactor, Value, ValueWithSpan, Visit, Visitor,
};

use crate::names;

/// An attribute that a statement speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mention {
    /// The table's name or alias in front of it.
    qualifier: Option<String>,
    /// Where to look.
    pub(crate) scope: AttributeScope,
    /// OpenTelemetry name.
    pub(crate) key: String,
}

/// What a statement speaks of.
#[derive(Debug, Default)]
pub(crate) struct Mentions {
    /// Tables of ours.
    pub(crate) signals: BTreeSet<Signal>,
    /// Names that its WITH clauses define, which hide tables of the same name.
    pub(crate) ctes: BTreeSet<String>,
    attributes: BTreeSet<Mention>,
    aliases: BTreeMap<String, BTreeSet<Signal>>,
}

impl Mentions {
    /// Walks a statement.
    pub(crate) fn of(statement: &ast::Statement) -> Self {
        let mut mentions = Mentions::default();
        let _ = statement.visit(&mut mentions);
        if let ast::Statement::ExplainTable { table_name, .. } = statement {
            mentions.signals.extend(names::signal_of(table_name));
        }
        mentions
    }

    /// The attributes that may be meant of this table.
    pub(crate) fn attributes(&self, signal: Signal) -> impl Iterator<Item = &Mention> {
        self.attributes.iter().filter(move |mention| {
            let meant = mention.qualifier.as_ref().and_then(|q| self.aliases.get(q));
            meant.is_none_or(|signals| signals.contains(&signal))
        })
    }

    fn mention(&mut self, qualifier: Option<&Ident>, scope: AttributeScope, key: &str) {
        let qualifier = qualifier.map(names::normalized);
        self.attributes.insert(Mention { qualifier, scope, key: key.to_owned() });
    }

    fn quoted(&mut self, qualifier: Option<&Ident>, ident: &Ident) {
        if ident.quote_style.is_some() {
            self.mention(qualifier, AttributeScope::Any, &ident.value);
        }
    }

    fn subscript(&mut self, root: &Expr, chain: &[AccessExpr]) {
        let mut path: Vec<&Ident> = match root {
            Expr::Identifier(ident) => vec![ident],
            Expr::CompoundIdentifier(idents) => idents.iter().collect(),
            _ => return,
        };
        for access in chain {
            match access {
                AccessExpr::Dot(Expr::Identifier(ident)) => path.push(ident),
                AccessExpr::Subscript(Subscript::Index { index }) => {
                    let (Some(column), Some(key)) = (path.last(), text(index)) else { return };
                    if let Some(scope) = names::scope_of(&names::normalized(column)) {
                        let qualifier = path.len().checked_sub(2).map(|i| path[i]);
                        self.mention(qualifier, scope, key);
                    }
                    return;
                }
                _ => return,
            }
        }
    }
}

/// The name of the attribute column that an expression is, if it is one and nothing else.
pub(crate) fn attribute(expr: &Expr) -> Option<String> {
    let mut mentions = Mentions::default();
    let _ = mentions.pre_visit_expr(expr);
    mentions.attributes.first().map(|mention| names::attribute(mention.scope, &mention.key))
}

/// The text of a string literal.
pub(crate) fn text(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::SingleQuotedString(text), .. }) => Some(text),
        _ => None,
    }
}

impl Visitor for Mentions {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        self.ctes.extend(ctes.map(|cte| names::normalized(&cte.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.signals.extend(names::signal_of(relation));
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, alias, .. } = factor
            && let Some(signal) = names::signal_of(name)
        {
            let own = name.0.last().and_then(|part| part.as_ident());
            if let Some(called) = alias.as_ref().map(|alias| &alias.name).or(own) {
                self.aliases.entry(names::normalized(called)).or_default().insert(signal);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(ident) => self.quoted(None, ident),
            Expr::CompoundIdentifier(idents) => {
                if let [.., qualifier, ident] = idents.as_slice() {
                    self.quoted(Some(qualifier), ident);
                }
            }
            Expr::CompoundFieldAccess { root, access_chain } => self.subscript(root, access_chain),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::statement;

    fn mentions(query: &str) -> Mentions {
        let mut parsed = statement::parse(query).unwrap();
        Mentions::of(statement::inner_mut(&mut parsed).unwrap())
    }

    fn keys(mentions: &Mentions, signal: Signal) -> Vec<String> {
        mentions.attributes(signal).map(|m| names::attribute(m.scope, &m.key)).collect()
    }

    #[test]
    fn all_spellings_are_found() {
        let found = mentions(
            "SELECT attributes['a''b'], l.resource['r'], \"q.1\" FROM logs l \
             WHERE attributes['c'] = 'x' AND EXISTS (SELECT 1 FROM traces t WHERE t.attributes['t'] = l.\"q.2\") \
             GROUP BY Attributes['g'] ORDER BY count(attributes['o'])",
        );
        assert_eq!(found.signals, BTreeSet::from([Signal::Logs, Signal::Traces]));
        assert_eq!(
            keys(&found, Signal::Logs),
            [
                "q.1",
                "attributes['a''b']",
                "attributes['c']",
                "attributes['g']",
                "attributes['o']",
                "q.2",
                "resource['r']"
            ]
        );
        assert!(keys(&found, Signal::Traces).contains(&"attributes['t']".to_owned()));
        assert!(!keys(&found, Signal::Traces).contains(&"resource['r']".to_owned()));
    }

    #[test]
    fn described_tables_are_tables() {
        for query in
            ["DESCRIBE logs", "EXPLAIN SELECT * FROM logs", "SELECT * FROM datafusion.public.logs", "TABLE logs"]
        {
            assert!(query == "TABLE logs" || mentions(query).signals.contains(&Signal::Logs), "{query}");
        }
    }
}
