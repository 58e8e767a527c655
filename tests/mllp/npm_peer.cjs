// Sends COUNT messages with an npm client, each after the answer to the one before, and prints
// what the answers said, as JSON: node npm_peer.cjs PACKAGE PORT COUNT [CA]
const [, , packagePath, port, count, ca] = process.argv;
const { Client, Message } = require(packagePath);

const answers = [];
// Any value of `tls`, false too, makes this client speak TLS.
const secure = ca ? { tls: { ca: require("fs").readFileSync(ca) } } : {};
const client = new Client({ host: "127.0.0.1", ...secure });

const connection = client.createConnection({ port: Number(port) }, async (response) => {
  const message = response.getMessage();
  answers.push([message.get("MSA.1").toString(), message.get("MSA.2").toString()]);
  if (answers.length === Number(count)) {
    console.log(JSON.stringify(answers));
    await connection.close();
    process.exit(0);
  }
  await send(answers.length);
});

connection.on("client.error", (error) => {
  console.error(String(error));
  process.exit(1);
});

async function send(number) {
  const message = new Message({
    messageHeader: { msh_9_1: "ADT", msh_9_2: "A01", msh_10: `NPM${number}`, msh_11_1: "P" },
  });
  message.addSegment("PID").set("5", `M\u00fcller^${"x".repeat(number)}`);
  await connection.sendMessage(message);
}

connection.on("connect", () => send(0));
