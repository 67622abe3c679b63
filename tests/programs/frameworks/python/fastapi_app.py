"""FastAPI with routers, by uvicorn."""
from fastapi import FastAPI

from fastapi_routers import users

app = FastAPI(title="shop")
app.include_router(users.router, prefix="/v1")


@app.get("/health/{part}")
async def health(part: str):
    return part
