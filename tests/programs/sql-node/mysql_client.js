// A client of MySQL or MariaDB (mysql2) at the port of its first argument: queries, and statements that are prepared.
//
// It connects, says `ready`, and on a line of its standard input makes its calls and says `done`.
const mysql = require('mysql2/promise');
const readline = require('node:readline');

const at = { host: '127.0.0.1', port: Number(process.argv[2]), user: 'shop', password: 's3cr3t-0', database: 'shop' };

async function calls(client) {
  await client.query('CREATE TABLE stock (id int, what text)');
  for (let number = 0; number < 10; number += 1) {
    await client.execute('INSERT INTO stock VALUES (?, ?)', [number, 's3cr3t-b']);
  }
  await client.query("UPDATE stock SET what = 's3cr3t-c' WHERE id IN (1, 2, 3)");
  for (let number = 0; number < 10; number += 1) await client.execute('SELECT what FROM stock WHERE id = ?', [number]);
  await client.execute('SELECT nothing FROM stock').catch(() => {});
  await client.query('SELECT 1; SELECT what FROM stock; DELETE FROM stock WHERE id = 9');
  await client.changeUser({ user: 'shop', password: 's3cr3t-0', database: 'other' });
  await client.ping();
  await client.query('SELECT 2');
}

(async () => {
  const older = await mysql.createConnection(at);
  await older.execute('SELECT ? AS a', [1]);
  console.log('ready');
  readline.createInterface({ input: process.stdin }).once('line', async () => {
    const client = await mysql.createConnection({ ...at, multipleStatements: true });
    await calls(client);
    await client.end();
    for (let number = 0; number < 5; number += 1) await older.execute('SELECT ? AS a', [number]);
    await older.end();
    console.log('done');
  });
})();
