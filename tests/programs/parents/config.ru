# Puma, whose calls Net::HTTP makes on the thread that answers, over connections that all threads share. How it is told what to
# call: see tests/src/parents/mod.rs.
require 'net/http'

BACKENDS = ENV.fetch('BACKENDS', '').split(',')
IDLE = BACKENDS.uniq.to_h { |port| [port, Queue.new] }
IDLE.each_value { |idle| ENV.fetch('POOL', '8').to_i.times { idle << nil } }

def call(path, at, context)
  port = BACKENDS[at % BACKENDS.size]
  connection = IDLE[port].pop || Net::HTTP.new('127.0.0.1', port.to_i).tap do |new|
    new.keep_alive_timeout = 60
    new.start
  end
  connection.get("#{path}.#{at + 1}", context ? { 'traceparent' => context } : {})
ensure
  IDLE[port] << connection
end

# Work of the service's own, of no request, from the first on.
ASKED = Queue.new
BACKGROUND = ENV.fetch('BACKGROUND', '0').to_f / 1000
if BACKGROUND.positive?
  Thread.new do
    ASKED.pop
    (1..).each do |at|
      sleep(BACKGROUND)
      call("/background#{Process.pid}n#{at}", 0, nil)
    end
  end
end

run lambda { |env|
  ASKED << true if ASKED.empty?
  asked = env['QUERY_STRING'].split('&').to_h { |part| part.split('=', 2) }
  pattern = asked.fetch('p') { ENV.fetch('PATTERN', 'sequential') }
  count = asked.fetch('n') { ENV.fetch('CALLS', '0') }.to_i
  path, context = env['PATH_INFO'], env['HTTP_TRACEPARENT']
  case pattern
  when 'parallel' then count.times.map { |at| Thread.new { call(path, at, context) } }.each(&:join)
  when 'forget' then count.times { |at| Thread.new { call(path, at, context) } }
  else
    count.times do |at|
      sleep(rand(0.001..0.005)) if pattern == 'pause'
      call(path, at, context)
    end
  end
  [200, { 'Content-Length' => '2' }, ['ok']]
}
