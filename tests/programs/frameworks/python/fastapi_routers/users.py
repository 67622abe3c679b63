from fastapi import APIRouter

router = APIRouter(prefix="/users")


@router.get("/me")
async def me():
    return "me"


@router.get("/{user}/files/{path:path}")
async def file(user: str, path: str):
    return path


@router.get("/{user}")
async def one(user: str):
    return user
