module.paths.push(require("path").join(process.argv[2], "node_modules"));
const router = require("express").Router();

router.get("/", (request, response) => response.send("all"));
router.get("/:user", (request, response) => response.send(request.params.user));
router.get("/:user/orders/:order", (request, response) => response.send(request.params.order));

module.exports = router;
