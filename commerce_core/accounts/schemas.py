"""Accounts as clients send and see them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from commerce_core.accounts.models import ApiToken, User
from commerce_core.accounts.passwords import LONGEST, SHORTEST
from commerce_core.accounts.permissions import PERMISSIONS_OF_ROLE, Permission
from commerce_core.accounts.tokens import Actor
from commerce_core.api.schemas import (
    NO_EMAIL,
    NO_PHONE,
    CursorList,
    CursorQuery,
    Input,
    Moment,
    Output,
    ShortText,
    hint,
)
from commerce_core.carts.schemas import CartMerge
from commerce_core.plugins.extensions import extensions_of

Role = Literal["customer", "staff", "admin"]
# What web browsers take for an address (the HTML standard), with a dot in the domain. So it is ASCII: the database and
# the mail server cannot take two addresses for one, and nothing in it means anything in a mail's header.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
EmailAddress = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=254, pattern=rf"^{_ATOM}(\.{_ATOM})*@{_LABEL}(\.{_LABEL})+$"),
    hint(NO_EMAIL),
    Field(examples=["ada@example.com"]),
]
Phone = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=40, pattern=r"^[0-9+()./ -]+$"), hint(NO_PHONE)
]
# Passwords are taken as they are: not stripped.
NewPassword = Annotated[
    str,
    Field(
        min_length=SHORTEST,
        max_length=LONGEST,
        description="Any characters. The most common passwords and the e-mail address are refused.",
        examples=["correct horse battery"],
        json_schema_extra={"format": "password", "writeOnly": True},
    ),
]
Password = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST,
        examples=["correct horse battery"],
        json_schema_extra={"format": "password", "writeOnly": True},
    ),
]
Code = Annotated[
    str,
    Field(min_length=1, max_length=200, description="From the mail.", examples=["pX3cZt0mYVQnKq8b1sE5uR7wGdLhJf2o"]),
]
DeviceName = Annotated[ShortText, Field(description="How you tell it from your others.", examples=["Ada's telephone"])]


# What plugins let people do: whether there is such a thing, and the maker has it, is seen when the token is made.
PluginAbility = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9]{1,30}:[a-z0-9-]{1,60}$"),
    Field(description="A permission of a plugin.", examples=["loyalty:adjust"]),
]


def optional(**options: Any) -> Any:
    """A field of a PATCH: it may be left out, which is not the same as null."""
    return Field(default_factory=lambda: None, **options)


class RegistrationIn(Input):
    email: EmailAddress
    password: NewPassword
    name: ShortText = Field(examples=["Ada Lovelace"])


class RegistrationConfirmIn(Input):
    token: Code
    password: Password = Field(description="The one that was chosen when registering.")
    device_name: DeviceName


class LoginIn(Input):
    email: EmailAddress
    password: Password
    device_name: DeviceName


class PasswordResetIn(Input):
    email: EmailAddress


class PasswordResetConfirmIn(Input):
    token: Code
    password: NewPassword


class PasswordIn(Input):
    current_password: Password
    new_password: NewPassword


class EmailIn(Input):
    email: EmailAddress
    current_password: Password


class CodeIn(Input):
    token: Code


class DeletionIn(Input):
    current_password: Password


class ProfileIn(Input):
    """What is left out stays as it is."""

    name: ShortText = optional(examples=["Ada King"])
    phone: Phone | None = optional(description="null takes it away.", examples=["+44 20 7946 0958"])


class TokenIn(Input):
    device_name: DeviceName
    abilities: list[Annotated[Permission, Field(strict=False)] | PluginAbility] | None = Field(
        default=None,
        max_length=200,
        description="What it may be used for, among what your own token allows. Left out: the same as your own.",
        examples=[["stock:read"]],
    )
    expires_at: Moment | None = Field(default=None, strict=False, description="Left out: as after a login.")


class MailedOut(Output):
    """The same for every address."""

    detail: str = Field(examples=["If the address is right, a mail is on its way."])


class UserOut(Output):
    id: UUID
    email: str
    name: str
    phone: str | None
    role: Role
    email_verified: bool = Field(description="Whether the address has been shown to be the user's.")
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> Self:
        return cls.model_construct(
            id=user.id,
            email=user.email,
            name=user.name,
            phone=user.phone,
            role=user.role,
            email_verified=user.email_verified_at is not None,
            created_at=user.created_at,
        )


class MeOut(UserOut):
    """The user, and what the token in use allows."""

    permissions: list[str] = Field(description="Those of plugins, too.", examples=[["account:self", "public"]])
    extensions: dict[str, Any] = extensions_of("user")

    @classmethod
    def of_actor(cls, user: User, actor: Actor) -> Self:
        me = cls.of(user)
        me.permissions = sorted(str(p) for p in PERMISSIONS_OF_ROLE[actor.role] | actor.more if actor.may(p))
        return me


class SignedInOut(Output):
    token: str = Field(description="Shown this once. Send it as `Authorization: Bearer ...`.", examples=["cmt_2Jx5..."])
    expires_at: datetime
    user: UserOut
    cart_merge: CartMerge | None = Field(description="What became the user's of the guest whose X-Cart-Token was sent.")


class TokenOut(Output):
    id: UUID
    device_name: str
    abilities: list[str] | None = Field(description="null: everything that the user may do.")
    current: bool = Field(description="Whether it is the one in use.")
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="Right to five minutes.")
    created_at: datetime

    @classmethod
    def of(cls, token: ApiToken, actor: Actor) -> Self:
        return cls.model_construct(
            id=token.id,
            device_name=token.device_name,
            abilities=token.abilities,
            current=token.id == actor.token_id,
            expires_at=token.expires_at,
            last_used_at=token.last_used_at,
            created_at=token.created_at,
        )


class NewTokenOut(TokenOut):
    token: str = Field(description="Shown this once.", examples=["cmt_2Jx5..."])


TokenList = CursorList[TokenOut]


class UserQuery(CursorQuery):
    role: Role | None = None
    is_active: bool | None = None
    q: ShortText | None = Field(default=None, description="What the address or the name begins with.")


class UserCreateIn(Input):
    email: EmailAddress
    name: ShortText = Field(examples=["Grace Hopper"])
    role: Role = "staff"


class UserChangeIn(Input):
    """What is left out stays as it is."""

    role: Role = optional()
    tier: ShortText | None = optional(description="A group of customers. null takes it away.")
    is_active: bool = optional()
    name: ShortText = optional()


class AdminUserOut(UserOut):
    """A user as staff see them."""

    tier: str | None
    is_active: bool
    has_password: bool
    deleted_at: datetime | None
    extensions: dict[str, Any] = extensions_of("user")

    @classmethod
    def of(cls, user: User) -> Self:
        shown = super().of(user)
        shown.tier = user.tier
        shown.is_active = user.is_active
        shown.has_password = user.password_hash is not None
        shown.deleted_at = user.deleted_at
        return shown


class SignedOutOut(Output):
    signed_out: int = Field(description="How many tokens have been ended.")


UserList = CursorList[AdminUserOut]
