// A client of PostgreSQL (pg) at the port of its first argument: simple queries, parameters, statements that are prepared.
//
// It connects, says `ready`, and on a line of its standard input makes its calls and says `done`.
const { Client } = require('pg');
const readline = require('node:readline');

const at = { host: '127.0.0.1', port: Number(process.argv[2]), user: 'shop', database: 'shop' };
const older = new Client(at);

async function calls(client) {
  await client.query('CREATE TABLE stock (id int, what text)');
  for (let number = 0; number < 10; number += 1) {
    await client.query('INSERT INTO stock VALUES ($1, $2)', [number, 's3cr3t-c']);
  }
  await client.query("UPDATE stock SET what = 's3cr3t-d' WHERE id IN (1, 2, 3)");
  for (let number = 0; number < 10; number += 1) {
    await client.query({ name: 'by-id', text: 'SELECT what FROM stock WHERE id = $1', values: [number] });
  }
  await client.query("SELECT 1; SELECT what FROM stock WHERE what = 's3cr3t-e'; DELETE FROM stock WHERE id = 9");
  await client.query('SELECT 1 / $1', [0]).catch(() => {});
  await client.query('LISTEN channel');
  await client.query("NOTIFY channel, 's3cr3t-f'");
  await client.query('');
}

older.connect().then(() => older.query('SELECT 1')).then(() => {
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', async () => {
    const client = new Client(at);
    await client.connect();
    await calls(client);
    await client.end();
    for (let number = 0; number < 5; number += 1) await older.query('SELECT count(*) FROM stock WHERE id < $1', [number]);
    await older.end();
    console.log('done');
  });
});
