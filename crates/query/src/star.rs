//! `SELECT *` shows the columns that a table always has, not the attribute columns
//! that this one query added to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use bonghwa_model::Signal;
use datafusion::sql::sqlparser::ast::{
    self, ExcludeSelectItem, Ident, JoinConstraint, JoinOperator, ObjectName, Select, SelectItem,
    SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use crate::names;

/// Rewrites every star over our tables so that it leaves out the added columns.
pub(crate) fn hide(statement: &mut ast::Statement, added: &BTreeMap<Signal, Vec<String>>, ctes: &BTreeSet<String>) {
    let _ = statement.visit(&mut Hide { added, ctes });
}

struct Hide<'a> {
    added: &'a BTreeMap<Signal, Vec<String>>,
    ctes: &'a BTreeSet<String>,
}

/// One thing that FROM names.
struct Relation<'a> {
    qualifier: Option<ObjectName>,
    hidden: &'a [String],
}

impl VisitorMut for Hide<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut from = From::default();
        for tables in &select.from {
            self.tables(tables, &mut from);
        }
        if from.relations.iter().all(|r| r.hidden.is_empty()) {
            return ControlFlow::Continue(());
        }
        let items = std::mem::take(&mut select.projection);
        select.projection = items.into_iter().flat_map(|item| rewrite(item, &from)).collect();
        ControlFlow::Continue(())
    }
}

/// What a SELECT reads from.
#[derive(Default)]
struct From<'a> {
    relations: Vec<Relation<'a>>,
    /// A join merges columns (USING, NATURAL).
    merged: bool,
    /// A join shows one side only.
    one_sided: bool,
}

impl<'a> Hide<'a> {
    fn tables(&self, tables: &TableWithJoins, from: &mut From<'a>) {
        self.relation(&tables.relation, from);
        for join in &tables.joins {
            self.relation(&join.relation, from);
            from.one_sided |= is_one_sided(&join.join_operator);
            let constraint = constraint(&join.join_operator);
            from.merged |= matches!(constraint, Some(JoinConstraint::Using(_) | JoinConstraint::Natural));
        }
    }

    fn relation(&self, factor: &TableFactor, from: &mut From<'a>) {
        let relation = match factor {
            TableFactor::NestedJoin { table_with_joins, alias: None } => return self.tables(table_with_joins, from),
            TableFactor::Table { name, alias, args: None, .. } => {
                let own = name.0.last().and_then(|part| part.as_ident());
                let shadowed = own.is_some_and(|own| self.ctes.contains(&names::normalized(own)));
                let signal = names::signal_of(name).filter(|_| !shadowed);
                let hidden = signal.and_then(|s| self.added.get(&s)).map_or(&[][..], Vec::as_slice);
                let called = alias.as_ref().map(|alias| &alias.name).or(own).cloned();
                Relation { qualifier: called.map(|ident| ObjectName::from(vec![ident])), hidden }
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::Function { alias, .. }
            | TableFactor::UNNEST { alias, .. }
            | TableFactor::NestedJoin { alias, .. } => {
                let qualifier = alias.as_ref().map(|alias| ObjectName::from(vec![alias.name.clone()]));
                Relation { qualifier, hidden: &[] }
            }
            _ => Relation { qualifier: None, hidden: &[] },
        };
        from.relations.push(relation);
    }
}

fn is_one_sided(operator: &JoinOperator) -> bool {
    use JoinOperator::*;
    matches!(operator, Semi(_) | LeftSemi(_) | RightSemi(_) | Anti(_) | LeftAnti(_) | RightAnti(_))
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    use JoinOperator::*;
    match operator {
        Join(c) | Inner(c) | Left(c) | LeftOuter(c) | Right(c) | RightOuter(c) | FullOuter(c) => Some(c),
        _ => None,
    }
}

fn rewrite(item: SelectItem, from: &From<'_>) -> Vec<SelectItem> {
    match item {
        SelectItem::Wildcard(options) => star(options, from),
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), mut options) => {
            let last = |name: &ObjectName| name.0.last().and_then(|part| part.as_ident()).map(names::normalized);
            if let Some(relation) = from.relations.iter().find(|r| r.qualifier.as_ref().and_then(last) == last(&name)) {
                exclude(&mut options, relation.hidden);
            }
            vec![SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)]
        }
        other => vec![other],
    }
}

fn star(mut options: WildcardAdditionalOptions, from: &From<'_>) -> Vec<SelectItem> {
    let From { relations, merged, one_sided } = from;
    let all: Vec<String> = relations.iter().flat_map(|r| r.hidden).cloned().collect();
    let distinct: BTreeSet<&String> = all.iter().collect();
    let plain = relations.len() == 1
        || *one_sided
        || relations.iter().any(|r| r.qualifier.is_none())
        || (*merged && distinct.len() == all.len())
        || options
            != WildcardAdditionalOptions { wildcard_token: options.wildcard_token.clone(), ..Default::default() };
    if plain {
        // EXCLUDE names a column once, even where two tables have it.
        let names: Vec<String> = distinct.into_iter().cloned().collect();
        exclude(&mut options, &names);
        return vec![SelectItem::Wildcard(options)];
    }
    // EXCLUDE takes no qualified names: where there are several tables, each gets a star of its own.
    let each = relations.iter().filter_map(|relation| {
        let mut options = options.clone();
        exclude(&mut options, relation.hidden);
        let kind = SelectItemQualifiedWildcardKind::ObjectName(relation.qualifier.clone()?);
        Some(SelectItem::QualifiedWildcard(kind, options))
    });
    each.collect()
}

fn exclude(options: &mut WildcardAdditionalOptions, hidden: &[String]) {
    if hidden.is_empty() {
        return;
    }
    let mut names = match options.opt_exclude.take() {
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
        None => Vec::new(),
    };
    for name in hidden {
        let name = ObjectName::from(vec![Ident::with_quote('"', name.clone())]);
        if !names.contains(&name) {
            names.push(name);
        }
    }
    options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::statement;

    fn hidden(query: &str) -> String {
        let mut parsed = statement::parse(query).unwrap();
        let inner = statement::inner_mut(&mut parsed).unwrap();
        let added = BTreeMap::from([(Signal::Logs, vec!["a.b".to_owned()]), (Signal::Traces, vec!["a.b".to_owned()])]);
        hide(inner, &added, &BTreeSet::from(["cte".to_owned()]));
        inner.to_string()
    }

    #[test]
    fn stars_leave_out_what_was_added() {
        for (query, expected) in [
            ("SELECT * FROM logs", r#"SELECT * EXCLUDE ("a.b") FROM logs"#),
            ("SELECT *, \"a.b\" FROM logs", r#"SELECT * EXCLUDE ("a.b"), "a.b" FROM logs"#),
            ("SELECT * FROM metrics", "SELECT * FROM metrics"),
            ("SELECT * FROM cte", "SELECT * FROM cte"),
            ("SELECT l.* FROM logs AS l", r#"SELECT l.* EXCLUDE ("a.b") FROM logs AS l"#),
            (
                "SELECT * FROM logs AS l JOIN spans AS s ON true",
                r#"SELECT l.* EXCLUDE ("a.b"), s.* EXCLUDE ("a.b") FROM logs AS l JOIN spans AS s ON true"#,
            ),
            ("SELECT * FROM (SELECT * FROM logs) AS t", r#"SELECT * FROM (SELECT * EXCLUDE ("a.b") FROM logs) AS t"#),
            ("SELECT count(*) FROM logs", "SELECT count(*) FROM logs"),
        ] {
            assert_eq!(hidden(query), expected, "{query}");
        }
    }
}
