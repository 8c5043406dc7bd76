"""Step 2: departments publish, the bank asks for grants, chief data officers decide with keys of
their own.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from chain.statements.grants import Operation
from registry.grants.signing import decision_of, reviewed
from scripts.demo_steps.screen import Screen
from scripts.demo_steps.state import DemoState, Product
from scripts.demo_steps.world import World, refusal_code, wait_for

CREDIT = "credit-assessment"
SERVICE = "public-service"
STATISTICS = "statistics"


@dataclass(frozen=True)
class _Publication:
    name: str
    title: str
    english: str
    grade: int
    masking: dict[str, str]
    data_item: str
    purposes: dict[str, dict[str, bool]] = field(
        default_factory=lambda: {CREDIT: {"consent": True}}
    )


TRADED = {
    "social-security": _Publication(
        "employment",
        "从业与参保信息",
        "Employment and insurance",
        3,
        {"Seniority": "keep", "Job": "keep", "Age": "range:10", "Marital": "constant"},
        "employment",
    ),
    "real-estate": _Publication(
        "home-ownership",
        "房产持有信息",
        "Home ownership",
        4,
        {"Home": "keep", "Assets": "round:1000"},
        "home-ownership",
    ),
    "tax": _Publication(
        "tax-standing",
        "纳税信用信息",
        "Tax standing",
        3,
        {"Records": "keep", "Expenses": "range:20"},
        "tax-standing",
        {CREDIT: {"consent": True}, STATISTICS: {"consent": True}},
    ),
}
SHARED = {
    "social-security": _Publication(
        "insured-status",
        "参保状态",
        "Insured status",
        2,
        {"Job": "keep"},
        "",
        {SERVICE: {"consent": False}},
    ),
    "tax": _Publication(
        "arrears-flag",
        "欠税标志",
        "Arrears flag",
        2,
        {"Records": "keep"},
        "",
        {SERVICE: {"consent": False}},
    ),
}


def run(world: World, screen: Screen, state: DemoState) -> None:
    """Publish, list, request, decide."""
    for key, publication in TRADED.items():
        state.products[key] = _publish(world, screen, key, publication)
    for key, publication in SHARED.items():
        state.free_products[key] = _publish(world, screen, key, publication)
    count = len(TRADED) + len(SHARED)
    listed = wait_for(
        lambda: (
            (found := world.client("bank", "clerk").get("/v1/assets")["assets"])
            and len(found) == count
            and found
        ),
        "the catalogue to show every asset",
    )
    screen.line(
        f"the bank's catalogue shows {len(listed)} assets of "
        f"{len({item['holder'] for item in listed})} holders"
    )
    one = world.client("bank", "clerk").get(f"/v1/assets/{state.products['tax'].asset_id}")
    screen.line(
        "its metadata, checked against the chain's hash: "
        f"《{one['metadata']['titleZh']}》 L{one['grade']}"
    )
    for key, product in state.products.items():
        state.grants[key] = _granted(
            world, screen, "bank", product, purpose=CREDIT, scene="small-loan"
        )
    _refuse_wrong_purpose(world, screen, state)


def publish_for_bench(world: World, screen: Screen, state: DemoState) -> None:
    """One traded asset with its grant."""
    state.products["tax"] = _publish(world, screen, "tax", TRADED["tax"])
    state.grants["tax"] = _granted(
        world, screen, "bank", state.products["tax"], purpose=CREDIT, scene="bench"
    )


def _publish(world: World, screen: Screen, key: str, publication: _Publication) -> Product:
    body = {
        "name": publication.name,
        "source": "records",
        "description": {
            "titleZh": publication.title,
            "titleEn": publication.english,
            "description": f"{publication.english} of sole traders",
            "grade": publication.grade,
            "category": "credit",
        },
        "masking": publication.masking,
        "purposes": publication.purposes,
        "dataItem": publication.data_item,
    }
    made = world.client(key, "clerk").post("/v1/assets", body)
    masked = (
        ", ".join(f"{name} {rule}" for name, rule in publication.masking.items() if rule != "keep")
        or "nothing masked"
    )
    screen.line(
        f"{publication.english} 《{publication.title}》: {made['rowCount']:,} records committed, "
        f"L{publication.grade}, {masked}",
        f"asset {made['assetId']}",
    )
    return Product(
        key, made["assetId"], publication.name, publication.title, tuple(publication.masking)
    )


def request_grant(
    world: World,
    grantee: str,
    product: Product,
    *,
    purpose: str,
    scene: str,
    max_uses: int = 1_000_000,
) -> str:
    """Request a grant as the grantee's clerk; the id, once the owner's node has it
    from the chain.
    """
    now = int(time.time())
    body = {
        "assetId": product.asset_id,
        "assetVersion": 1,
        "owner": world.code(product.holder),
        "operations": int(Operation.VIEW | Operation.USE),
        "scene": scene,
        "purpose": purpose,
        "columns": list(product.columns),
        "notBefore": now - 60,
        "notAfter": now + 90 * 86_400,
        "maxUses": max_uses,
    }
    grant_id = str(world.client(grantee, "clerk").post("/v1/grants", body)["grantId"])
    wait_for(
        lambda: grant_state(world, product.holder, grant_id) == "requested",
        "a grant request to reach its owner",
    )
    return grant_id


def grant_state(world: World, key: str, grant_id: str) -> str:
    """Return the state of a grant by one node's database."""
    grants = world.client(key, "officer").rows("/v1/grants", "grants")
    return next((str(row["state"]) for row in grants if row["grantId"] == grant_id), "")


def decide(world: World, owner: str, grant_id: str, *, approved: bool, reason: str) -> None:
    """The chief data officer signs with a key the node does not hold, and the decision is on the
    chain.
    """
    shown, _ = reviewed(world.client(owner, "officer").get(f"/v1/grants/{grant_id}"))
    decision = decision_of(shown, approved=approved, reason=reason, now=int(time.time()))
    signature = (
        world.organisations[owner]
        .officer()
        .sign(decision, world.deployment.domain("GrantRegistry"))
    )
    body = {"decision": decision.to_json(), "signature": "0x" + signature.hex()}
    world.client(owner, "officer").post(f"/v1/grants/{grant_id}/decision", body)
    publication = "approved" if approved else "refused"
    wait_for(
        lambda: grant_state(world, owner, grant_id) == publication,
        "a grant decision to be on the chain",
    )


def _granted(
    world: World, screen: Screen, grantee: str, product: Product, *, purpose: str, scene: str
) -> str:
    grant_id = request_grant(world, grantee, product, purpose=purpose, scene=scene)
    decide(world, product.holder, grant_id, approved=True, reason="")
    wait_for(
        lambda: grant_state(world, grantee, grant_id) == "approved", "the grantee to see its grant"
    )
    screen.line(
        f"{product.holder}: chief data officer approved 《{product.title}》 for {purpose}",
        f"grant {grant_id}",
    )
    return grant_id


def grant_shared(world: World, screen: Screen, grantee: str, product: Product) -> str:
    """A grant between departments for public service."""
    return _granted(world, screen, grantee, product, purpose=SERVICE, scene="joint-service")


def _refuse_wrong_purpose(world: World, screen: Screen, state: DemoState) -> None:
    product = state.products["tax"]
    unlisted = refusal_code(
        lambda: request_grant(world, "bank", product, purpose="anti-fraud", scene="marketing")
    )
    screen.line(
        "a request for a purpose that the tax bureau's asset does not "
        f"list gets no further than the nodes ({unlisted})"
    )
    grant_id = request_grant(world, "bank", product, purpose=STATISTICS, scene="marketing")
    decide(world, "tax", grant_id, approved=False, reason="wrong-purpose")
    word = world.ledger.grants.grant(bytes.fromhex(grant_id[2:]))
    state.wrong_purpose_refused = bool(word.refused_at and not word.approved_at)
    screen.line(
        "a request for marketing statistics is refused by the tax bureau's officer",
        f"grant {grant_id}",
    )
