"""What clients ask before they connect, and what they are answered."""

from __future__ import annotations

from pydantic import Field

from commerce_core.api.schemas import Output


class RealtimeConfig(Output):
    """How a browser reaches the WebSocket server: what Pusher's client is configured with."""

    key: str = Field(description="The app's key, which is public.", examples=["shop"])
    host: str | None = Field(description="Where to connect; null: the host of the page.", examples=["ws.shop.example"])
    port: int = Field(examples=[6001])
    tls: bool = Field(description="Whether to use wss.")
    path: str = Field(description="What comes before `/app/{key}`: the option `wsPath`.", examples=[""])
    presence: bool = Field(description="Whether there is `presence-product.{id}`.")
    channels: dict[str, str] = Field(
        description="The channels of stock, by what they are about.",
        examples=[
            {"everything": "inventory", "product": "inventory.product.{id}", "variant": "inventory.variant.{id}"}
        ],
    )


class ChannelAuth(Output):
    """What a client passes on to the WebSocket server, which then lets this socket into this channel."""

    auth: str = Field(description="The app's key and a signature.", examples=["shop:5ab1c0de"])
    channel_data: str | None = Field(default=None, description="Who the client is in a presence channel, as JSON.")


class UserAuth(Output):
    """What a client passes on to the WebSocket server to be signed in."""

    auth: str = Field(examples=["shop:5ab1c0de"])
    user_data: str = Field(description="Who it is, as JSON.", examples=['{"id": "0198..."}'])
