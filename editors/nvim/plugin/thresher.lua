-- Commands; nothing is loaded before one is used.
vim.api.nvim_create_user_command("ThresherSolve", function()
  require("thresher").solve()
end, { desc = "Write the function under the cursor so that its tests pass" })

vim.api.nvim_create_user_command("ThresherRefine", function(given)
  require("thresher").solve(given.args)
end, { nargs = "*", desc = "Write it again, told what fails now and what you say" })

vim.api.nvim_create_user_command("ThresherCancel", function()
  require("thresher").cancel()
end, { desc = "Stop all solves" })
