from sqlalchemy import column, table

STOCK_LEVEL = table(
    "stock_level",
    *(
        column(name)
        for name in ("variant_id", "on_hand", "reserved", "policy", "allow_backorder", "low_stock_threshold", "version")
    ),
)
