# A server that forks its workers, which share one listening socket. Answers with the worker's pid, one request per connection.
require "socket"

listener = TCPServer.new("127.0.0.1", 0)
3.times do
  fork do
    loop do
      connection = listener.accept
      nil until connection.gets.to_s.strip.empty?
      body = Process.pid.to_s
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.bytesize}\r\nConnection: close\r\n\r\n#{body}")
      connection.close
    end
  end
end
$stdout.sync = true
puts "listening #{listener.addr[1]}"
Process.waitall
