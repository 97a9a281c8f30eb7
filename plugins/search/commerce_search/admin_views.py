"""Search for staff: what is searched for, synonyms, what is pinned and hidden, how the index is."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field
from sqlalchemy import func, select

from commerce_core.api.endpoints import api_view, path_id
from commerce_core.api.problems import NotFound
from commerce_core.api.schemas import Query, ShortText
from commerce_core.plugin import AdminResource, PluginPermission
from commerce_search import analytics, curation, jobs
from commerce_search.admin_schemas import (
    BuildOut,
    ClickList,
    ClicksQuery,
    ClickStatistics,
    QueriesQuery,
    QueryList,
    QueryStatistics,
    ReindexIn,
    RuleIn,
    RuleList,
    RuleOut,
    StatusOut,
    SynonymIn,
    SynonymList,
    SynonymOut,
)
from commerce_search.curation import RuleExists
from commerce_search.documents import count_products
from commerce_search.engine import search_of
from commerce_search.interface import BackendError, Stats
from commerce_search.models import SearchBuild, SearchChange, SearchRule, SearchSynonym

READ = PluginPermission(name="search:read", description="See what is searched for, and how the index is.")
MANAGE = PluginPermission(name="search:manage", description="Change synonyms and results, and build the index anew.")
RESOURCES = (
    AdminResource(
        name="queries", title="Searches", path="/api/v1/admin/search/queries", permission=READ.name, section="search"
    ),
    AdminResource(
        name="synonyms", title="Synonyms", path="/api/v1/admin/search/synonyms", permission=READ.name, section="search"
    ),
    AdminResource(
        name="rules",
        title="Pinned and hidden",
        path="/api/v1/admin/search/rules",
        permission=READ.name,
        section="search",
    ),
    AdminResource(
        name="status", title="Search index", path="/api/v1/admin/search/status", permission=READ.name, section="search"
    ),
)


class RulesQuery(Query):
    query: ShortText | None = Field(default=None, description="Of one query only.", examples=["red sneaker"])


@api_view(
    route_name="search_admin_queries",
    request_method="GET",
    permission=READ.name,
    query=QueriesQuery,
    returns=QueryList,
)
def list_queries(request: Any, query: QueriesQuery) -> QueryList:
    """What was searched for; with `empty=true`, what has found nothing."""
    since = request.now.date() - timedelta(days=query.days - 1)
    rows = analytics.queries(request.db, since=since, empty_only=query.empty, limit=query.limit)
    return QueryList(
        data=[
            QueryStatistics(
                query=row.query,
                searches=row.searches,
                empty=row.empty,
                clicks=row.clicks,
                click_through=round(row.clicks / row.searches, 3) if row.searches else 0.0,
            )
            for row in rows
        ]
    )


@api_view(
    route_name="search_admin_clicks", request_method="GET", permission=READ.name, query=ClicksQuery, returns=ClickList
)
def list_clicks(request: Any, query: ClicksQuery) -> ClickList:
    """What was chosen of what a query had found."""
    since = request.now.date() - timedelta(days=query.days - 1)
    rows = analytics.clicks(request.db, query.query, since=since, limit=query.limit)
    return ClickList(
        data=[
            ClickStatistics(
                product_id=row.product_id,
                name=row.name,
                slug=row.slug,
                clicks=row.clicks,
                mean_position=round(float(row.position), 1),
            )
            for row in rows
        ]
    )


@api_view(route_name="search_admin_synonyms", request_method="GET", permission=READ.name, returns=SynonymList)
def list_synonyms(request: Any) -> SynonymList:
    """All synonyms."""
    return SynonymList(data=[_synonym(synonym) for synonym in curation.list_synonyms(request.db)])


@api_view(
    route_name="search_admin_synonyms",
    request_method="POST",
    permission=MANAGE.name,
    body=SynonymIn,
    returns=SynonymOut,
    status=201,
)
def create_synonym(request: Any, body: SynonymIn) -> SynonymOut:
    """Let words mean the same. Counts within a second."""
    synonym = curation.add_synonym(request.db, body.words, body.source)
    request.audit("search.synonym-create", f"search-synonym:{synonym.id}", after=body.model_dump())
    return _synonym(synonym)


@api_view(
    route_name="search_admin_synonym",
    request_method="DELETE",
    permission=MANAGE.name,
    status=204,
    problems=(NotFound,),
)
def delete_synonym(request: Any) -> None:
    """Let them mean the same no longer."""
    synonym = request.db.get(SearchSynonym, path_id(request))
    if synonym is None:
        raise NotFound("There are no such synonyms.")
    before = {"words": synonym.words, "source": synonym.source}
    request.db.delete(synonym)
    request.audit("search.synonym-delete", f"search-synonym:{synonym.id}", before=before)


@api_view(
    route_name="search_admin_rules", request_method="GET", permission=READ.name, query=RulesQuery, returns=RuleList
)
def list_rules(request: Any, query: RulesQuery) -> RuleList:
    """What is pinned and hidden."""
    return RuleList(data=[_rule(rule) for rule in curation.list_rules(request.db, query.query)])


@api_view(
    route_name="search_admin_rules",
    request_method="POST",
    permission=MANAGE.name,
    body=RuleIn,
    returns=RuleOut,
    status=201,
    problems=(RuleExists,),
)
def create_rule(request: Any, body: RuleIn) -> RuleOut:
    """Pin a product to the beginning of what a query finds, or hide it there. Counts at once."""
    rule = curation.add_rule(request.db, body.query, body.product_id, body.kind, body.position)
    request.audit("search.rule-create", f"search-rule:{rule.id}", after=_rule(rule).model_dump(exclude={"created_at"}))
    return _rule(rule)


@api_view(
    route_name="search_admin_rule", request_method="DELETE", permission=MANAGE.name, status=204, problems=(NotFound,)
)
def delete_rule(request: Any) -> None:
    """Pin or hide it no longer."""
    rule = request.db.get(SearchRule, path_id(request))
    if rule is None:
        raise NotFound("There is no such rule.")
    before = _rule(rule).model_dump(exclude={"created_at"})
    request.db.delete(rule)
    request.audit("search.rule-delete", f"search-rule:{rule.id}", before=before)


@api_view(route_name="search_admin_status", request_method="GET", permission=READ.name, returns=StatusOut)
def show_status(request: Any) -> StatusOut:
    """How the index is, and what is still to come into it."""
    engine, session = search_of(request.registry), request.db
    waiting = session.execute(
        select(func.count(), func.min(SearchChange.created_at)).where(SearchChange.applied_at.is_(None))
    ).one()
    build = session.scalar(select(SearchBuild).order_by(SearchBuild.started_at.desc()).limit(1))
    stats: Stats | None = None
    said: str | None = None
    try:
        with engine.reading(session) as reader:
            stats = reader.stats()
    except BackendError as error:
        said = str(error)
    return StatusOut(
        backend=engine.code,
        working=stats is not None,
        error=said,
        documents=None if stats is None else stats.documents,
        products=count_products(session),
        size=None if stats is None else stats.size,
        waiting=waiting[0],
        oldest_waiting_at=waiting[1],
        build=None if build is None else BuildOut.model_validate(build, from_attributes=True),
    )


@api_view(route_name="search_admin_reindex", request_method="POST", permission=MANAGE.name, body=ReindexIn, status=204)
def reindex(request: Any, body: ReindexIn) -> None:
    """Have the index built anew by a worker. Searches go on with the present one."""
    jobs.want(request.db, request.registry, jobs.rebuild, fresh=body.fresh)
    request.audit("search.reindex", "search-index", after=body.model_dump())


def _synonym(synonym: SearchSynonym) -> SynonymOut:
    return SynonymOut.model_validate(synonym, from_attributes=True)


def _rule(rule: SearchRule) -> RuleOut:
    return RuleOut.model_validate(rule, from_attributes=True)
