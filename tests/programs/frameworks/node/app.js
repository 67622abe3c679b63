// Express with routers: prints its port, and answers until it is killed. Libraries are those beside the first argument.
const path = require("path");
module.paths.push(path.join(process.argv[2], "node_modules"));
const express = require("express");
const users = require("./routes/users");

const app = express();
const admin = express.Router();
admin.get("/jobs/:job", (request, response) => response.send(request.params.job));
app.use("/api/users", users);
app.use("/admin", admin);
app.get("/version", (request, response) => response.send("ok"));

const server = app.listen(0, "127.0.0.1", () => console.log("listening " + server.address().port));
