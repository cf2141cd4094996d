-- Functions written by Thresher, decided by their tests. How to set it up: README.md.
local M = {}

local NAME = "thresher"
local space = vim.api.nvim_create_namespace(NAME)
local running = {} -- progress token -> where its line of progress stands, its language server, whether that was asked
local started = {} -- buffer -> the id of its language server, which it has from the moment that it is being started

M.options = {
  cmd = { "thresher", "lsp" }, -- with "--address", "unix:/path" or "host:port" for another server
  settings = nil, -- { model = "...", k = 16, seconds = 120, inlineCompletion = true }
}

local function say(message, level)
  vim.notify(message, level or vim.log.levels.INFO)
end

local function show(token, text)
  local at = running[token]
  if not at or not vim.api.nvim_buf_is_valid(at.buffer) then
    return
  end
  local row = vim.api.nvim_buf_get_extmark_by_id(at.buffer, space, at.mark, {})[1] or at.row
  at.mark = vim.api.nvim_buf_set_extmark(at.buffer, space, row, 0, {
    id = at.mark,
    virt_text = { { "  " .. text, "Comment" } },
  })
end

local function finish(token)
  local at = running[token]
  running[token] = nil
  if at and vim.api.nvim_buf_is_valid(at.buffer) then
    vim.api.nvim_buf_del_extmark(at.buffer, space, at.mark)
  end
end

local function client_of(buffer)
  local client = vim.lsp.get_clients({ name = NAME, bufnr = buffer })[1]
  return client or (started[buffer] and vim.lsp.get_client_by_id(started[buffer]))
end

-- Stops waiting for the language server `id`, which has ended: it will answer nothing.
local function abandon(id)
  for token, at in pairs(running) do
    if at.client == id then
      finish(token)
      say("Thresher: its language server ended; :LspLog says why", vim.log.levels.ERROR)
    end
  end
end

local function ask(token, words)
  local at = running[token]
  local client = at and vim.lsp.get_client_by_id(at.client)
  if not client then
    return -- stopped before it began
  end
  if not client.initialized then
    vim.api.nvim_create_autocmd("LspAttach", {
      buffer = at.buffer,
      once = true,
      callback = function()
        ask(token, words)
      end,
    })
    return
  end
  show(token, "Thresher: asking")
  at.asked = true
  local params = {
    textDocument = vim.lsp.util.make_text_document_params(at.buffer),
    position = { line = vim.api.nvim_buf_get_extmark_by_id(at.buffer, space, at.mark, {})[1], character = 0 },
    feedback = words,
    workDoneToken = token,
  }
  local sent = client:request("thresher/solve", params, function(problem, result)
    finish(token)
    if problem then
      say(problem.message, vim.log.levels.ERROR)
    elseif result.outcome == "solved" or result.outcome == "cancelled" then
      say(("Thresher: %s %s"):format(result["function"], result.message))
    else
      say(("Thresher: %s: %s"):format(result["function"], result.message), vim.log.levels.WARN)
    end
  end, at.buffer)
  if not sent then
    finish(token)
  end
end

local function solve_at(buffer, row, words)
  local client = client_of(buffer)
  if not client or client:is_stopped() then
    say("Thresher: its language server does not run here; is `thresher` on PATH?", vim.log.levels.ERROR)
    return
  end
  local token = ("%s-%d-%d"):format(NAME, buffer, vim.uv.hrtime())
  local mark = vim.api.nvim_buf_set_extmark(buffer, space, row, 0, {})
  running[token] = { buffer = buffer, row = row, mark = mark, client = client.id }
  if not client.initialized then
    say("Thresher: its language server is starting")
  end
  ask(token, words)
end

-- Solves the function under the cursor. `words`: nil from the start; else a round that tells what fails now, and the words.
function M.solve(words)
  solve_at(vim.api.nvim_get_current_buf(), vim.api.nvim_win_get_cursor(0)[1] - 1, words)
end

-- Stops all solves. Each says so when it has ended.
function M.cancel()
  if vim.tbl_isempty(running) then
    say("Thresher: nothing is running")
  end
  for token, at in pairs(running) do
    local client = vim.lsp.get_client_by_id(at.client)
    if at.asked and client then
      -- Not by cancelling the request: of that Neovim shows no answer.
      show(token, "Thresher: stopping")
      client:notify("window/workDoneProgress/cancel", { token = token })
    else
      finish(token)
      say("Thresher: stopped before it began")
    end
  end
end

-- What is going on, for a status line; empty when nothing is.
function M.status()
  local count = vim.tbl_count(running)
  return count == 0 and "" or ("Thresher: %d running"):format(count)
end

function M.setup(options)
  M.options = vim.tbl_extend("force", M.options, options or {})
  local group = vim.api.nvim_create_augroup(NAME, {})
  vim.api.nvim_create_autocmd("FileType", {
    group = group,
    pattern = "python",
    callback = function(event)
      started[event.buf] = vim.lsp.start({
        name = NAME,
        cmd = M.options.cmd,
        init_options = M.options.settings,
        root_dir = vim.fs.root(event.buf, { "pyproject.toml", ".git" }),
        on_exit = vim.schedule_wrap(function(_, _, id)
          abandon(id)
        end),
      }, { bufnr = event.buf })
    end,
  })
  -- The code actions' command: asked from here, it has its progress beside the function and a line at the end, too.
  vim.lsp.commands["thresher.solve"] = function(command, context)
    local where = command.arguments[1]
    solve_at(context.bufnr, where.position.line, where.feedback)
  end
  vim.api.nvim_create_autocmd("LspProgress", {
    group = group,
    callback = function(event)
      local params = event.data.params
      if params.value.kind == "report" then
        show(params.token, params.value.message)
      end
    end,
  })
end

return M
