// A client of MongoDB (Node driver) at the port of its first argument, which asks much at a time over several connections.
//
// It connects, says `ready`, and on a line of its standard input makes its calls, and says `done` with how many commands of each kind its driver
// has sent, in JSON.
const { MongoClient } = require('mongodb');
const readline = require('node:readline');

const client = new MongoClient(`mongodb://127.0.0.1:${process.argv[2]}/`, { monitorCommands: true, maxPoolSize: 4 });
let counts = {};
client.on('commandStarted', ({ commandName }) => { counts[commandName] = (counts[commandName] ?? 0) + 1; });

async function calls() {
  const people = client.db('shop').collection('people');
  await people.insertMany(Array.from({ length: 20 }, (_, number) => ({ _id: number, name: 'secret-5' })));
  await Promise.all(Array.from({ length: 40 }, (_, number) => people.findOne({ _id: number, name: 'secret-5' })));
  await people.updateOne({ _id: 1 }, { $set: { name: 'secret-6' } });
  await people.find({}).batchSize(7).toArray();
  await people.insertOne({ _id: 1 }).then(() => Promise.reject(new Error('that should fail')), () => {});
  await people.drop();
}

client.connect().then(() => client.db('shop').command({ ping: 1 })).then(() => {
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', async () => {
    counts = {};
    await calls();
    console.log('done', JSON.stringify(counts));
  });
});
