// A receiver made of simple-hl7 as its documentation shows it: acknowledge, keep nothing.
const hl7 = require("simple-hl7");

const app = hl7.tcp();
app.use((request, response, next) => response.end());
app.start(Number(process.argv[2]));
